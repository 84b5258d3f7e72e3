-- Text ids are 32 base62 characters; times are unix milliseconds of the wall clock; booleans are 0 and 1.

CREATE TABLE mesh (
  id TEXT PRIMARY KEY,
  slug TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  owner_pubkey TEXT NOT NULL,
  owner_secret_key TEXT NOT NULL,
  root_key TEXT NOT NULL,
  self_editable TEXT,
  created_at_ms INTEGER NOT NULL,
  archived_at_ms INTEGER
);

CREATE TABLE member (
  id TEXT PRIMARY KEY,
  mesh_id TEXT NOT NULL REFERENCES mesh (id),
  pubkey TEXT NOT NULL,
  display_name TEXT NOT NULL,
  role TEXT NOT NULL,
  role_tag TEXT,
  default_groups TEXT NOT NULL,
  message_mode TEXT NOT NULL,
  joined_at_ms INTEGER NOT NULL,
  revoked_at_ms INTEGER
);
CREATE UNIQUE INDEX member_active_key ON member (mesh_id, pubkey) WHERE revoked_at_ms IS NULL;

CREATE TABLE invite (
  id TEXT PRIMARY KEY,
  mesh_id TEXT NOT NULL REFERENCES mesh (id),
  code TEXT NOT NULL UNIQUE,
  token TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL,
  max_uses INTEGER NOT NULL,
  used_count INTEGER NOT NULL DEFAULT 0,
  expires_at_ms INTEGER NOT NULL,
  created_at_ms INTEGER NOT NULL,
  revoked_at_ms INTEGER
);

-- What a member's next hello gets back. One row per member, written when a connection ends.
CREATE TABLE peer_state (
  member_id TEXT PRIMARY KEY REFERENCES member (id),
  groups TEXT NOT NULL,
  profile TEXT NOT NULL,
  visible INTEGER NOT NULL,
  last_summary TEXT,
  last_display_name TEXT,
  stats TEXT NOT NULL,
  last_seen_at_ms INTEGER NOT NULL
);

-- Keys of launched sessions, so that messages to a session that is away can wait for it.
CREATE TABLE session_key (
  mesh_id TEXT NOT NULL REFERENCES mesh (id),
  pubkey TEXT NOT NULL,
  member_id TEXT NOT NULL REFERENCES member (id),
  last_seen_at_ms INTEGER NOT NULL,
  PRIMARY KEY (mesh_id, pubkey)
);

-- Message and history in one row: append-only, so that one insert is both.
CREATE TABLE message (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  mesh_id TEXT NOT NULL,
  sender_member_id TEXT NOT NULL,
  sender_pubkey TEXT NOT NULL,
  target_spec TEXT NOT NULL,
  priority TEXT NOT NULL,
  nonce TEXT NOT NULL,
  ciphertext TEXT NOT NULL,
  client_message_id TEXT,
  request_fingerprint TEXT,
  created_at_ms INTEGER NOT NULL
);

-- One row per recipient. recipient_key is null when any connection of the member may take the message.
CREATE TABLE delivery (
  seq INTEGER NOT NULL,
  recipient_member TEXT NOT NULL,
  recipient_key TEXT,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  claimed_by TEXT,
  claim_expires_at_ms INTEGER,
  delivered_at_ms INTEGER,
  PRIMARY KEY (seq, recipient_member)
) WITHOUT ROWID;
CREATE INDEX delivery_waiting ON delivery (recipient_member, seq) WHERE delivered_at_ms IS NULL;

-- Outlives the message: an id never becomes free in the mode `permanent`.
CREATE TABLE client_message_dedupe (
  mesh_id TEXT NOT NULL,
  client_message_id TEXT NOT NULL,
  sender_member_id TEXT NOT NULL,
  broker_message_id TEXT NOT NULL,
  request_fingerprint BLOB NOT NULL,
  destination_kind TEXT NOT NULL,
  destination_ref TEXT NOT NULL,
  first_seen_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER,
  history_available INTEGER NOT NULL,
  PRIMARY KEY (mesh_id, client_message_id)
) WITHOUT ROWID;
CREATE INDEX client_message_dedupe_expires ON client_message_dedupe (expires_at_ms) WHERE expires_at_ms IS NOT NULL;

CREATE TABLE audit_log (
  id INTEGER PRIMARY KEY,
  mesh_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  actor_member_id TEXT,
  actor_display_name TEXT,
  payload TEXT NOT NULL,
  prev_hash TEXT NOT NULL,
  hash TEXT NOT NULL,
  created_at TEXT NOT NULL
);
CREATE INDEX audit_log_mesh ON audit_log (mesh_id, id);
