-- Agents that run on by themselves: one section for each noun, only additions.

-- An agent whose standing orders begin after a reboot before a master has answered.
ALTER TABLE agents ADD COLUMN start_alone_after_reboot INTEGER NOT NULL DEFAULT 0;
CREATE INDEX agents_that_start_alone ON agents (id) WHERE start_alone_after_reboot = 1;
