-- The durable record. Ids are what the world sees (32 hex digits, compared byte by byte); rows refer to each
-- other by number. Times are milliseconds since 1970-01-01 UTC on this server's clock. JSON is kept as text
-- and read by the program only: `jsonb` cannot hold U+0000.

CREATE SEQUENCE epoch_seq;
CREATE SEQUENCE ord_seq;

-- Simple enough to become part of the statement that calls it.
CREATE FUNCTION now_ms() RETURNS bigint LANGUAGE sql VOLATILE
  AS 'SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint';

CREATE TABLE project (
  num        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text COLLATE "C" NOT NULL UNIQUE,
  name       text NOT NULL,
  path       bytea,                    -- bytes: a path need not be UTF-8
  created_at bigint NOT NULL
);
-- Hashes, as an index holds at most 2.7 kB of a value.
CREATE UNIQUE INDEX project_path ON project(sha256(path)) WHERE path IS NOT NULL;
CREATE UNIQUE INDEX project_name ON project(md5(name)) WHERE path IS NULL;

CREATE TABLE session (
  num        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text COLLATE "C" NOT NULL UNIQUE,
  project    bigint NOT NULL REFERENCES project(num),
  title      text NOT NULL,
  model      text,
  open       boolean NOT NULL DEFAULT true,
  last_seq   bigint NOT NULL DEFAULT 0, -- kept here, not max(seq): frames may be removed one day
  -- A turn's last append, so that one made again is only answered again.
  append_epoch bigint,
  append_batch bigint,
  append_first bigint,
  append_ts    bigint,
  created_at bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX session_project ON session(project, num);

CREATE TABLE chat (
  num        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text COLLATE "C" NOT NULL UNIQUE,
  session    bigint NOT NULL REFERENCES session(num),
  title      text NOT NULL,
  open       boolean NOT NULL DEFAULT true,
  created_at bigint NOT NULL
);
CREATE INDEX chat_session ON chat(session, num);

-- The hot row: claimed, stopped and settled in place, so what is long lives elsewhere. `queued` and `ready`
-- are both `pending` to the world: only the head of a session is ever `ready`, so a claim never looks past a
-- session's waiting tasks.
CREATE TABLE task (
  num               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id                text COLLATE "C" NOT NULL UNIQUE,
  -- Its place in the queue. Only the partial indexes hold it: ordered by the primary key, the planner would
  -- walk everything that ever ran.
  ord               bigint NOT NULL DEFAULT nextval('ord_seq'),
  project           bigint NOT NULL REFERENCES project(num),
  session           bigint NOT NULL REFERENCES session(num),
  chat              bigint NOT NULL REFERENCES chat(num),
  from_chat         boolean NOT NULL,
  agent             text COLLATE "C" NOT NULL DEFAULT '', -- empty is native inference
  attended_by       text COLLATE "C",  -- node.id: that process alone may claim it
  state             text NOT NULL,     -- queued, ready, running, completed, failed, cancelled, interrupted
  reason            text,
  stopped           text,              -- what a Stop found: running, waiting
  prompt_sent       boolean NOT NULL DEFAULT false,
  route             text,
  attempt           integer NOT NULL DEFAULT 0,
  resumed           boolean NOT NULL DEFAULT false, -- whether the next attempt goes on with the last one's conversation
  epoch             bigint,
  -- How the claim of `epoch` ended by its own word, and with which frames, so that it can be answered again.
  answered          text,              -- settled, requeued
  answered_first    bigint,
  answered_last     bigint,
  node              bigint,            -- node.num of the claim; not a foreign key, dead nodes are forgotten
  first_seq         bigint,            -- the session's next seq when the last attempt was claimed
  assistant_message bigint,
  created_at        bigint NOT NULL,
  started_at        bigint,
  finished_at       bigint
) WITH (fillfactor = 85);
-- The invariant behind SPEC D3: the database itself refuses a second live head of a session.
CREATE UNIQUE INDEX task_one ON task(session) WHERE state IN ('ready', 'running');
-- By agent, so that a claim passes over those without a free slot, however many wait for them.
CREATE INDEX task_ready    ON task(agent, ord) WHERE state = 'ready' AND attended_by IS NULL;
CREATE INDEX task_attended ON task(attended_by) WHERE attended_by IS NOT NULL AND state IN ('queued', 'ready');
CREATE INDEX task_queued   ON task(session, ord) WHERE state = 'queued';
CREATE INDEX task_running  ON task(node) WHERE state = 'running';
-- Damaged rows, which recovery sets aside.
CREATE INDEX task_unknown  ON task(num)
  WHERE state NOT IN ('queued', 'ready', 'running', 'completed', 'failed', 'cancelled', 'interrupted');
CREATE INDEX task_session  ON task(session, num);
CREATE INDEX task_project  ON task(project, num);

CREATE TABLE task_input (
  task        bigint PRIMARY KEY REFERENCES task(num),
  input       bytea NOT NULL,          -- UTF-8, as text cannot hold U+0000; the user message's text too
  options     text NOT NULL,           -- JSON: TurnOptions
  permissions text NOT NULL
);

CREATE TABLE task_result (
  task          bigint PRIMARY KEY REFERENCES task(num),
  summary       text,
  input_tokens  bigint,
  output_tokens bigint,
  cost          double precision,
  currency      text
);

-- U+0000 is shown as U+2400 in what follows, but for the parts and frames, which hold it as JSON does.
CREATE TABLE message (
  num                 bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id                  text COLLATE "C" NOT NULL UNIQUE,
  chat                bigint NOT NULL REFERENCES chat(num),
  task                bigint NOT NULL REFERENCES task(num),
  role                text NOT NULL,
  state               text NOT NULL,
  model               text,
  content             text NOT NULL DEFAULT '',
  content_truncated   boolean NOT NULL DEFAULT false,
  reasoning           text NOT NULL DEFAULT '',
  reasoning_truncated boolean NOT NULL DEFAULT false,
  usage               text NOT NULL DEFAULT '{}',
  created_at          bigint NOT NULL,
  finished_at         bigint
);
CREATE INDEX message_chat ON message(chat, num);
-- Each task has exactly one user message (SPEC T3).
CREATE UNIQUE INDEX message_user ON message(task) WHERE role = 'user';

-- The parts of a settled assistant message, whole and in order, as one JSON array: they are written once and
-- read together.
CREATE TABLE message_parts (
  message bigint PRIMARY KEY REFERENCES message(num),
  parts   text NOT NULL
);

-- Without foreign keys: they would be looked up again for every frame.
CREATE TABLE frame (
  session bigint NOT NULL,
  seq     bigint NOT NULL,
  ts      bigint NOT NULL,
  task    bigint,
  message bigint,
  body    text NOT NULL,
  PRIMARY KEY (session, seq)
);

CREATE TABLE checkpoint (
  num        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id         text COLLATE "C" NOT NULL UNIQUE,
  task       bigint NOT NULL REFERENCES task(num),
  session    bigint NOT NULL REFERENCES session(num),
  message    bigint REFERENCES message(num),
  kind       text NOT NULL,
  worktree   text NOT NULL,
  snapshot   text NOT NULL,            -- JSON: Snapshot
  created_at bigint NOT NULL
);
CREATE UNIQUE INDEX checkpoint_once ON checkpoint(task, kind, md5(worktree), md5(snapshot));

CREATE TABLE change (
  num              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id               text COLLATE "C" NOT NULL UNIQUE,
  project          bigint NOT NULL REFERENCES project(num),
  session          bigint NOT NULL REFERENCES session(num),
  task             bigint NOT NULL REFERENCES task(num),
  agent            text NOT NULL,
  mode             text NOT NULL,      -- supersede, append
  state            text NOT NULL,
  from_failed_turn boolean NOT NULL,
  rejected_before  boolean NOT NULL,
  restored         boolean NOT NULL DEFAULT false, -- whether a restore took its edits out of the worktree
  superseded_by    text,
  draft            text NOT NULL,      -- JSON: ChangeDraft
  created_at       bigint NOT NULL,
  decided_at       bigint
);
CREATE UNIQUE INDEX change_one ON change(session) WHERE state = 'pending' AND mode = 'supersede';
CREATE INDEX change_project ON change(project, num);
CREATE INDEX change_task    ON change(task, num);
CREATE INDEX change_session ON change(session, num);

-- The agents' own ids of their conversations, the last of each task: a resumed one goes on with its own, and a
-- chat with the last of all of its tasks.
CREATE TABLE agent_session (
  task     bigint PRIMARY KEY REFERENCES task(num),
  chat     bigint NOT NULL REFERENCES chat(num),
  agent    text COLLATE "C" NOT NULL,  -- empty is native inference
  route    text,
  worktree text NOT NULL,
  node     bigint,
  epoch    bigint NOT NULL,            -- of the turn that recorded it: the greatest is the last
  id       text NOT NULL,
  own      text NOT NULL               -- JSON: OwnSettings
);
CREATE INDEX agent_session_chat ON agent_session(chat, agent, epoch);

-- Permission requests that wait for a user, each until its turn has heard the answer, or ends.
CREATE TABLE permission (
  num       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  task      bigint NOT NULL REFERENCES task(num),
  epoch     bigint NOT NULL,
  id        bytea NOT NULL,            -- UTF-8, as text cannot hold U+0000; unique within its turn
  request   text NOT NULL,             -- JSON: PermissionRequest
  asked_at  bigint NOT NULL,
  lapses_at bigint NOT NULL,
  answer    text                       -- allow, deny
);
CREATE UNIQUE INDEX permission_one ON permission(task, epoch, sha256(id));

-- What each agent was last known to offer.
CREATE TABLE agent_offer (
  agent    text COLLATE "C" PRIMARY KEY,
  commands text NOT NULL,              -- JSON: a list of AgentCommand
  settings text NOT NULL               -- JSON: AgentSettings
);

CREATE TABLE node (
  num        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- never used again: tasks name it
  id         text COLLATE "C" NOT NULL,
  host       text NOT NULL,            -- the data folder with its lock file
  label      text NOT NULL,
  gone       boolean NOT NULL DEFAULT false,
  joined_at  bigint NOT NULL,
  expires_at timestamptz NOT NULL      -- its lease; only this server's clock counts
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX node_one ON node(id) WHERE NOT gone;

-- What nodes keep between turns, by their own last word.
CREATE TABLE warm (
  node  bigint NOT NULL REFERENCES node(num) ON DELETE CASCADE,
  place bigint NOT NULL,
  chat  text COLLATE "C",              -- chat.id, where it is kept for one
  agent text NOT NULL,                 -- JSON: WarmAgent
  PRIMARY KEY (node, place)
);

-- Rows that change all the time; the default would let a fifth of them be dead.
ALTER TABLE task    SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE session SET (autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE node    SET (autovacuum_vacuum_scale_factor = 0.01);
ALTER TABLE permission SET (autovacuum_vacuum_scale_factor = 0.01);
