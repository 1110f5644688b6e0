-- What both rivals store; each has a database of its own.
CREATE TABLE users (
    id text PRIMARY KEY,
    name text
);
CREATE TABLE sessions (
    token_hash bytea PRIMARY KEY,
    user_id text NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE TABLE broker_tokens (
    user_id text PRIMARY KEY REFERENCES users,
    sealed bytea NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE TABLE intents (
    id uuid PRIMARY KEY,
    user_id text NOT NULL REFERENCES users,
    idempotency_key text NOT NULL,
    terms jsonb NOT NULL,
    state text NOT NULL,
    order_no text,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, idempotency_key)
);
