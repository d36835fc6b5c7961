-- The durable record. Ids are what the world sees (32 hex digits); rows refer to each other by number.
-- Times are milliseconds since 1970-01-01 UTC. JSON is kept as text and read by the program only.

CREATE TABLE project (
  num        INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,
  path       BLOB UNIQUE,              -- bytes: a path need not be UTF-8
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
  num        INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  project    INTEGER NOT NULL REFERENCES project(num),
  title      TEXT NOT NULL,
  model      TEXT,
  open       INTEGER NOT NULL DEFAULT 1,
  last_seq   INTEGER NOT NULL DEFAULT 0, -- kept here, not max(seq): frames may be removed one day
  -- A turn's last append, so that one made again is only answered again.
  append_epoch INTEGER,
  append_batch INTEGER,
  append_first INTEGER,
  append_ts    INTEGER,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX session_project ON session(project, num);

CREATE TABLE chat (
  num        INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  session    INTEGER NOT NULL REFERENCES session(num),
  title      TEXT NOT NULL,
  open       INTEGER NOT NULL DEFAULT 1,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX chat_session ON chat(session, num);

-- The hot row: claimed, stopped and settled in place, so what is long lives elsewhere. `num` is also its
-- place in the queue. `queued` and `ready` are both `pending` to the world: only the head of a session is
-- ever `ready`, so a claim never looks past a session's waiting tasks.
CREATE TABLE task (
  num               INTEGER PRIMARY KEY,
  id                TEXT NOT NULL UNIQUE,
  project           INTEGER NOT NULL REFERENCES project(num),
  session           INTEGER NOT NULL REFERENCES session(num),
  chat              INTEGER NOT NULL REFERENCES chat(num),
  from_chat         INTEGER NOT NULL,
  agent             TEXT NOT NULL DEFAULT '', -- empty is native inference
  attended_by       TEXT,              -- node.id: that process alone may claim it
  state             TEXT NOT NULL,     -- queued, ready, running, completed, failed, cancelled, interrupted
  reason            TEXT,
  stopped           TEXT,              -- what a Stop found: running, waiting
  prompt_sent       INTEGER NOT NULL DEFAULT 0,
  route             TEXT,
  attempt           INTEGER NOT NULL DEFAULT 0,
  resumed           INTEGER NOT NULL DEFAULT 0, -- whether the next attempt goes on with the last one's conversation
  epoch             INTEGER,
  -- How the claim of `epoch` ended by its own word, and with which frames, so that it can be answered again.
  answered          TEXT,              -- settled, requeued
  answered_first    INTEGER,
  answered_last     INTEGER,
  node              INTEGER,           -- node.num of the claim; not a foreign key, dead nodes are forgotten
  first_seq         INTEGER,           -- the session's next seq when the last attempt was claimed
  user_message      INTEGER,
  assistant_message INTEGER,
  created_at        INTEGER NOT NULL,
  started_at        INTEGER,
  finished_at       INTEGER
) STRICT;
-- The invariant behind SPEC D3: the database itself refuses a second live head of a session.
CREATE UNIQUE INDEX task_one ON task(session) WHERE state IN ('ready', 'running');
-- By agent, so that a claim passes over those without a free slot, however many wait for them.
CREATE INDEX task_ready    ON task(agent, num) WHERE state = 'ready' AND attended_by IS NULL;
CREATE INDEX task_attended ON task(attended_by, num) WHERE attended_by IS NOT NULL AND state IN ('queued', 'ready');
CREATE INDEX task_queued  ON task(session, num) WHERE state = 'queued';
CREATE INDEX task_running ON task(node) WHERE state = 'running';
-- Damaged rows, which recovery sets aside.
CREATE INDEX task_unknown ON task(num)
  WHERE state NOT IN ('queued', 'ready', 'running', 'completed', 'failed', 'cancelled', 'interrupted');
CREATE INDEX task_session ON task(session, num);
CREATE INDEX task_project ON task(project, num);

CREATE TABLE task_input (
  task        INTEGER PRIMARY KEY REFERENCES task(num),
  input       TEXT NOT NULL,           -- the user message's text too: it is kept once
  options     TEXT NOT NULL,           -- JSON: TurnOptions
  permissions TEXT NOT NULL
) STRICT;

CREATE TABLE task_result (
  task          INTEGER PRIMARY KEY REFERENCES task(num),
  summary       TEXT,
  input_tokens  INTEGER,
  output_tokens INTEGER,
  cost          REAL,
  currency      TEXT
) STRICT;

CREATE TABLE message (
  num                 INTEGER PRIMARY KEY,
  id                  TEXT NOT NULL UNIQUE,
  chat                INTEGER NOT NULL REFERENCES chat(num),
  task                INTEGER NOT NULL REFERENCES task(num),
  role                TEXT NOT NULL,
  state               TEXT NOT NULL,
  model               TEXT,
  content             TEXT NOT NULL DEFAULT '',
  content_truncated   INTEGER NOT NULL DEFAULT 0,
  reasoning           TEXT NOT NULL DEFAULT '',
  reasoning_truncated INTEGER NOT NULL DEFAULT 0,
  usage               TEXT NOT NULL DEFAULT '{}',
  created_at          INTEGER NOT NULL,
  finished_at         INTEGER
) STRICT;
CREATE INDEX message_chat ON message(chat, num);

-- The parts of a settled assistant message, whole and in order, as one JSON array: they are written once and
-- read together.
CREATE TABLE message_parts (
  message INTEGER PRIMARY KEY REFERENCES message(num),
  parts   TEXT NOT NULL
) STRICT;

CREATE TABLE frame (
  session INTEGER NOT NULL REFERENCES session(num),
  seq     INTEGER NOT NULL,
  ts      INTEGER NOT NULL,
  task    INTEGER REFERENCES task(num),
  message INTEGER REFERENCES message(num),
  body    TEXT NOT NULL,
  PRIMARY KEY (session, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoint (
  num        INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  task       INTEGER NOT NULL REFERENCES task(num),
  session    INTEGER NOT NULL REFERENCES session(num),
  message    INTEGER REFERENCES message(num),
  kind       TEXT NOT NULL,
  worktree   TEXT NOT NULL,
  snapshot   TEXT NOT NULL,            -- JSON: Snapshot
  created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX checkpoint_once ON checkpoint(task, kind, worktree, snapshot);

CREATE TABLE change (
  num              INTEGER PRIMARY KEY,
  id               TEXT NOT NULL UNIQUE,
  project          INTEGER NOT NULL REFERENCES project(num),
  session          INTEGER NOT NULL REFERENCES session(num),
  task             INTEGER NOT NULL REFERENCES task(num),
  agent            TEXT NOT NULL,
  mode             TEXT NOT NULL,      -- supersede, append
  state            TEXT NOT NULL,
  from_failed_turn INTEGER NOT NULL,
  rejected_before  INTEGER NOT NULL,
  restored         INTEGER NOT NULL DEFAULT 0, -- whether a restore took its edits out of the worktree
  superseded_by    TEXT,
  draft            TEXT NOT NULL,      -- JSON: ChangeDraft
  created_at       INTEGER NOT NULL,
  decided_at       INTEGER
) STRICT;
CREATE UNIQUE INDEX change_one ON change(session) WHERE state = 'pending' AND mode = 'supersede';
CREATE INDEX change_project ON change(project, num);
CREATE INDEX change_task    ON change(task, num);
CREATE INDEX change_session ON change(session, num);

-- The agents' own ids of their conversations, the last of each task: a resumed one goes on with its own, and a
-- chat with the last of all of its tasks.
CREATE TABLE agent_session (
  task     INTEGER PRIMARY KEY REFERENCES task(num),
  chat     INTEGER NOT NULL REFERENCES chat(num),
  agent    TEXT NOT NULL,              -- empty is native inference
  route    TEXT,
  worktree TEXT NOT NULL,
  node     INTEGER,
  epoch    INTEGER NOT NULL,           -- of the turn that recorded it: the greatest is the last
  id       TEXT NOT NULL,
  own      TEXT NOT NULL               -- JSON: OwnSettings
) STRICT;
CREATE INDEX agent_session_chat ON agent_session(chat, agent, epoch);

-- Permission requests that wait for a user, each until its turn has heard the answer, or ends.
CREATE TABLE permission (
  num       INTEGER PRIMARY KEY,
  task      INTEGER NOT NULL REFERENCES task(num),
  epoch     INTEGER NOT NULL,
  id        TEXT NOT NULL,             -- unique within its turn
  request   TEXT NOT NULL,             -- JSON: PermissionRequest
  asked_at  INTEGER NOT NULL,
  lapses_at INTEGER NOT NULL,
  answer    TEXT                       -- allow, deny
) STRICT;
CREATE UNIQUE INDEX permission_one ON permission(task, epoch, id);

-- What each agent was last known to offer.
CREATE TABLE agent_offer (
  agent    TEXT PRIMARY KEY,
  commands TEXT NOT NULL,              -- JSON: a list of AgentCommand
  settings TEXT NOT NULL               -- JSON: AgentSettings
) STRICT;

CREATE TABLE node (
  num       INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: tasks name it
  id        TEXT NOT NULL,
  label     TEXT NOT NULL,
  left      INTEGER NOT NULL DEFAULT 0,
  joined_at INTEGER NOT NULL
) STRICT;
CREATE INDEX node_id ON node(id);

-- What nodes keep between turns, by their own last word.
CREATE TABLE warm (
  node  INTEGER NOT NULL REFERENCES node(num) ON DELETE CASCADE,
  place INTEGER NOT NULL,
  chat  TEXT,                          -- chat.id, where it is kept for one
  agent TEXT NOT NULL,                 -- JSON: WarmAgent
  PRIMARY KEY (node, place)
) STRICT;

CREATE TABLE epoch (last INTEGER NOT NULL) STRICT;
INSERT INTO epoch VALUES (0);

PRAGMA user_version = 1;
