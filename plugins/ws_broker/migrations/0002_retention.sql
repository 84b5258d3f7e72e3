-- Retention finds old messages by their time, not by reading the table.
CREATE INDEX message_created ON message (created_at_ms);

-- Where the chain of a mesh's audit log begins after its oldest entries were removed: the hash of the last one of them.
CREATE TABLE audit_anchor (
  mesh_id TEXT NOT NULL PRIMARY KEY,
  hash TEXT NOT NULL,
  last_id INTEGER NOT NULL,
  removed INTEGER NOT NULL
) WITHOUT ROWID;

-- One row that is written to find out whether the store takes writes.
CREATE TABLE store_probe (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at_ms INTEGER NOT NULL
);
