-- agents.witness and agents.former_witness: 0 no seat, 1 a seat, 2 a seat in doubt (its record may be an old one).
-- A seat of a removed agent is lost too. The former set is on record until both nodes have applied the change.
ALTER TABLE agents ADD COLUMN former_witness INTEGER NOT NULL DEFAULT 0;
CREATE INDEX agents_with_seat ON agents (id) WHERE witness != 0 OR former_witness != 0;
