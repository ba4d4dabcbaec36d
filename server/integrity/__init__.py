"""What proves, mends and keeps: both nodes held beside each other, damage healed, forks of what only one had."""
