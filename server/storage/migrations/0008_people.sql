-- People. Each part has its own section: add there.

-- Passwords that somebody else gave: when; no time: it is one's own (core.people).
ALTER TABLE users ADD COLUMN password_given_at_us INTEGER;
ALTER TABLE sessions ADD COLUMN must_change_password INTEGER NOT NULL DEFAULT 0 CHECK (must_change_password IN (0, 1));

-- When who is signed in proved it last; no time: at the sign-in.
ALTER TABLE sessions ADD COLUMN proved_at_us INTEGER;
