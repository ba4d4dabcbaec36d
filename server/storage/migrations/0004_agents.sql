-- Agents that run on by themselves: one section for each noun, only additions.

-- An agent whose standing orders begin after a reboot before a master has answered.
ALTER TABLE agents ADD COLUMN start_alone_after_reboot INTEGER NOT NULL DEFAULT 0;
CREATE INDEX agents_that_start_alone ON agents (id) WHERE start_alone_after_reboot = 1;

-- Silent agents. give_up_after_s: 0 never; else a run is killed when its agent had no answer from a master for so long.
ALTER TABLE jobs ADD COLUMN give_up_after_s INTEGER NOT NULL DEFAULT 0;
-- SKY-11: what an adopted entry needs to be a run. `state` is the one that it would have ended in, '' while no end is
-- known; `output_cut`: there was more output than is kept.
ALTER TABLE server_history ADD COLUMN state TEXT NOT NULL DEFAULT '';
ALTER TABLE server_history ADD COLUMN command TEXT NOT NULL DEFAULT '';
ALTER TABLE server_history ADD COLUMN output_cut INTEGER NOT NULL DEFAULT 0;
CREATE INDEX server_history_open ON server_history (id) WHERE adopted_run = '';
