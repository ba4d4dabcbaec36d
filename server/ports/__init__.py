"""What listens and what dials: connections and their limits, the cluster port and what is asked over it."""
