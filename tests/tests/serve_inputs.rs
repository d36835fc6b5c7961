//! What a dispatcher's record may be like: newer, read-only, full, somewhere else, damaged; and text that a
//! database does not like. Each is refused with what is wrong and what to do, or survived.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use boocoder_tests::{
    product::{Finished, Live, Machine},
    queue::{DATABASE_URL, Kind, Site},
    serve::Gate,
};
use dispatch_core::{
    ids::TaskId,
    ports::RecordsError,
    task::{Name, NewTask, Task, TaskState, TerminalReason, TurnOptions},
};
use serde_json::Value;
use test_postgres::{Cluster, Database};

const BOTH: [Kind; 2] = [Kind::Sqlite, Kind::Postgres];

/// What needs the record: to serve, to add, to look.
const COMMANDS: [&[&str]; 3] =
    [&["serve", "--wait", "0"], &["task", "add", "hello"], &["task", "list", "--all"]];

/// Checks a refusal: its exit code, that stderr says each of these words, and that it is no panic.
fn assert_refused(run: Finished, code: i32, words: &[&str]) {
    let run = run.expect(code);
    assert!(run.stdout.is_empty(), "{run:?}");
    for word in words {
        assert!(run.stderr.contains(word), "{word:?} is missing in: {}", run.stderr);
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn a_record_that_a_newer_build_has_written_is_left_alone() {
    for kind in BOTH {
        let site = Site::new(kind);
        let is_newer = match kind {
            Kind::Sqlite => "PRAGMA user_version = 99",
            Kind::Postgres => {
                "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
                 VALUES (99, 'later', '2099-01-01T00:00:00Z', '1')"
            }
        };
        site.sql(is_newer);
        for args in COMMANDS {
            assert_refused(site.machine.run(args), 3, &["has schema 99", "use a newer boocoder"]);
        }
    }
}

#[test]
fn a_postgres_database_that_is_read_only_is_refused() {
    let fresh = Database::create().expect("a database");
    let site = Site::new(Kind::Postgres);
    let mut stranger = Machine::new();
    stranger.set(DATABASE_URL, fresh.url());
    for (database, machine) in [(&fresh, &stranger), (site.database(), &site.machine)] {
        let sql = format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name());
        database.sql(&sql).expect("a setting");
        for args in COMMANDS {
            assert_refused(machine.run(args), 3, &["is read-only", "name the primary server"]);
        }
    }
}

/// Whether this test runs where it may mount file systems that nobody else sees. Where it does not yet, it is run
/// again, there.
fn may_mount(test: &str) -> bool {
    const INSIDE: &str = "BOOCODER_TEST_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(std::env::current_exe().expect("a test knows its own file"));
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]).env(INSIDE, "1");
    let output = command.output().expect("unshare is installed: apt-get install util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn mount(options: &str, folder: &Path) {
    let mut mount = Command::new("mount");
    let mount = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).status();
    assert!(mount.expect("mount is installed").success(), "{options}");
}

/// A machine whose data directory is a disk of its own.
fn machine_with_a_disk(options: &str) -> Machine {
    let machine = Machine::new();
    fs::create_dir(machine.data_dir()).expect("a folder");
    mount(&format!("mode=0700,{options}"), &machine.data_dir());
    machine
}

#[test]
fn a_data_directory_that_is_read_only_is_refused() {
    if !may_mount("a_data_directory_that_is_read_only_is_refused") {
        return;
    }
    let machine = machine_with_a_disk("size=8m");
    let args = ["--agent", "demo", "/say hello"];
    let id = machine.add_with(args);
    mount("remount,ro", &machine.data_dir());
    for args in COMMANDS {
        assert_refused(machine.run(args), 3, &["Read-only file system", "choose another"]);
    }
    mount("remount,rw", &machine.data_dir());
    let serve = machine.serve([] as [&str; 0]);
    let _ = machine.watch(&id).expect(0);
    let _ = serve.stop().expect(0);
    machine.assert_nothing_left();
}

#[test]
fn a_full_disk_stops_nothing_for_good() {
    if !may_mount("a_full_disk_stops_nothing_for_good") {
        return;
    }
    let site = Site::on(machine_with_a_disk("size=12m"));
    let machine = &site.machine;
    let serve = machine.serve([] as [&str; 0]);
    let [full, empty] = ["full", "empty"].map(|name| Gate::new(machine, name));
    let said = machine.root().join("said");
    let prompt = format!(
        "/say before \n{}\n/stream 3000 100\n/shell touch '{}'\n{}\n/say after",
        full.wait(),
        said.display(),
        empty.wait()
    );
    let task = site.queue("demo", &prompt, None);
    site.wait_for("the first word", |site| site.text(task.session).contains("before").then_some(()));
    let filler = machine.data_dir().join("filler");
    fill(&filler);
    full.open();
    Machine::wait_until("all words", || said.exists().then_some(()));
    assert_refused(machine.run(["task", "add", "--agent", "demo", "hello"]), 3, &["full"]);
    let why = machine.run(["task", "why", &task.id.to_string()]).expect(0);
    assert!(why.stdout[0].contains("runs"), "{why:?}");

    fs::remove_file(&filler).expect("it is ours");
    empty.open();
    let ended = site.wait_for_end(task.id);
    assert_eq!(ended.state, TaskState::Completed, "{ended:?}");
    let text = site.text(task.session);
    assert!(text.starts_with("before ") && text.ends_with("after"), "{text}");
    assert_eq!(text.split_whitespace().count(), 3002);
    let next = site.add("demo", "/say hello", None);
    assert_eq!(site.wait_for_end(next.id).state, TaskState::Completed);
    let _ = serve.stop().expect(0);
    site.assert_nothing_left();
}

/// Writes a file until its disk takes no more.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file");
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

/// A server that wants a password of one of its users, and that password.
fn locked_server() -> (Cluster, String) {
    const PASSWORD: &str = "hunter2-xyzzy";
    let cluster = Cluster::start().expect("a server");
    let server = cluster.server();
    server.sql(&format!("CREATE USER locked SUPERUSER PASSWORD '{PASSWORD}'")).expect("a user");
    let rules = cluster.socket().join("data/pg_hba.conf");
    let open = fs::read_to_string(&rules).expect("rules");
    // Opened, not made anew: it stays the server's user's file.
    fs::write(&rules, format!("host all locked 127.0.0.1/32 scram-sha-256\n{open}")).expect("rules");
    server.sql("SELECT pg_reload_conf()").expect("a reload");
    (cluster, PASSWORD.to_owned())
}

#[test]
fn an_address_that_is_wrong_is_named_without_its_password() {
    let (cluster, password) = locked_server();
    let database = cluster.server().database().expect("a database");
    let (_, address) = database.url().split_once('@').expect("a user");
    let (server, name) = address.split_once('/').expect("a database");
    let with = |user: &str, place: &str| format!("postgres://{user}:{password}@{place}");
    let cases = [
        ("nonsense".to_owned(), 2, "the database's address is wrong"),
        (with("locked", "127.0.0.1:port/x"), 2, "the database's address is wrong"),
        (format!("mysql://locked:{password}@127.0.0.1/x"), 2, "the database's address is wrong"),
        (with("locked", &format!("{address}?sslmode=require")), 2, "TLS"),
        (with("locked", &format!("{address}?sslmode={password}")), 2, "the database's address is wrong"),
        (with("locked", "127.0.0.1:1/x"), 3, "Connection refused"),
        (with("locked", "no-such-host.invalid/x"), 3, "the database"),
        (with("locked", &format!("{server}/nowhere")), 3, "does not exist"),
        (format!("postgres://locked:{password}-not@{address}"), 3, "password authentication failed"),
        (
            format!("host=127.0.0.1 port=1 user=locked password={password} dbname={name}"),
            3,
            "Connection refused",
        ),
    ];
    let mut machine = Machine::new();
    let check = |run: Finished, code, word| {
        let all = [run.stdout.concat(), run.stderr.clone()].concat();
        assert!(!all.contains(&password) && !all.contains("hunter2"), "the password is shown: {all}");
        assert_refused(run, code, &[word]);
    };
    for (url, code, word) in &cases {
        machine.set(DATABASE_URL, url);
        for args in COMMANDS {
            check(machine.run(args), *code, word);
        }
    }
    machine.set(DATABASE_URL, "");
    for (url, code, word) in &cases {
        check(machine.run(["task", "list", "--all", "-vv", "--database-url", url]), *code, word);
        machine.configure(&format!("database_url = {url:?}\n"));
        check(machine.run(["task", "list", "--all"]), *code, word);
    }
    // What waiting cannot mend is not waited for.
    machine.configure("");
    let begun = Instant::now();
    for (url, code, word) in cases.iter().filter(|(url, ..)| url.contains("nowhere") || url.contains("-not@"))
    {
        machine.set(DATABASE_URL, url);
        check(machine.run(["serve", "--wait", "3600"]), *code, word);
    }
    assert!(begun.elapsed() < Duration::from_secs(30));

    machine.set(DATABASE_URL, with("locked", address));
    let id = machine.add_with(["--agent", "demo", "/say hello"]);
    let serve = machine.serve(["-vv"]);
    let _ = machine.watch(&id).expect(0);
    let doctor = machine.run(["doctor"]);
    let all = [serve.ready().to_owned(), format!("{doctor:?}"), format!("{:?}", serve.stop().expect(0))];
    assert!(all.iter().all(|said| !said.contains(&password)), "the password is shown: {all:?}");
    machine.assert_nothing_left();
}

/// What can be wrong with a row, as SQL with the task's number in the place of `$`; and whether it must be set
/// aside, as nobody can tell what was asked.
const DAMAGES: [(&str, bool); 14] = [
    ("UPDATE task SET state = 'dreaming' WHERE num = $", true),
    ("UPDATE task SET state = '' WHERE num = $", true),
    ("UPDATE task_input SET options = '{' WHERE task = $", true),
    ("UPDATE task_input SET options = '' WHERE task = $", true),
    ("UPDATE task_input SET options = '[[[[' WHERE task = $", true),
    ("UPDATE task_input SET options = '{\"agent\":\"demo\",\"model\":5}' WHERE task = $", true),
    ("UPDATE task_input SET permissions = 'everything' WHERE task = $", true),
    ("DELETE FROM task_input WHERE task = $", true),
    ("UPDATE task SET route = 'teleport' WHERE num = $", true),
    ("UPDATE message SET id = 'short' WHERE task = $", true),
    ("UPDATE task SET reason = 'because' WHERE num = $", false),
    ("UPDATE task SET attempt = -1 WHERE num = $", false),
    ("UPDATE task SET created_at = -9223372036854775808 WHERE num = $", false),
    ("UPDATE task SET agent = 'nobody' WHERE num = $", false),
];

struct Damaged {
    id: TaskId,
    sql: &'static str,
    must_be_set_aside: bool,
}

fn damage(site: &Site, task: &Task, (sql, must_be_set_aside): (&'static str, bool)) -> Damaged {
    let num = site.sql(&format!("SELECT num FROM task WHERE id = '{}'", task.id));
    site.sql(&sql.replace('$', &num));
    Damaged { id: task.id, sql, must_be_set_aside }
}

#[test]
fn damaged_rows_are_set_aside_and_the_queue_moves_on() {
    for kind in BOTH {
        let site = Site::new(kind);
        let gate = Gate::new(&site.machine, "gate");
        let mut damaged = Vec::new();
        let mut healthy = vec![site.queue("demo", "/say first", None)];
        let head = site.queue("demo", &gate.wait(), None);
        for what in DAMAGES {
            let task = site.queue("demo", "/say broken", None);
            healthy.push(site.queue("demo", "/say behind", Some(task.session)));
            damaged.push(damage(&site, &task, what));
        }
        // Before anybody has set them aside, those that can be read are listed.
        let listed = site.machine.json(["task", "list", "--limit", "0", "--json"]);
        assert!(listed.len() > healthy.len(), "{listed:?}");

        let serve = site.machine.serve(["--slots", "4"]);
        // And some that are not the next ones yet when they break, in a dispatcher that runs.
        for what in [DAMAGES[0], DAMAGES[2], DAMAGES[7]] {
            let task = site.queue("demo", "/say broken", Some(head.session));
            damaged.push(damage(&site, &task, what));
        }
        healthy.push(site.queue("demo", "/say behind all of them", Some(head.session)));
        gate.open();
        site.wait_for("the end of everything", |site| {
            let open = "SELECT count(*) FROM task WHERE state NOT IN ('completed', 'failed', 'cancelled')";
            (site.sql(open) == "0").then_some(())
        });
        for task in healthy.iter().chain([&head]) {
            assert_eq!(site.task(task.id).state, TaskState::Completed, "{kind:?} {task:?}");
        }
        damaged.iter().for_each(|damaged| assert_set_aside(&site, damaged));
        assert_eq!(site.tasks().len(), healthy.len() + 1 + damaged.len());
        let listed = site.machine.run(["task", "list", "--limit", "0"]).expect(0);
        assert_eq!(listed.stdout.len(), 1 + healthy.len() + 1 + damaged.len());
        let _ = serve.stop().expect(0);
        site.assert_nothing_left();
    }
}

fn assert_set_aside(site: &Site, damaged: &Damaged) {
    let task = site.task(damaged.id);
    if damaged.must_be_set_aside {
        let end = (task.state, task.reason);
        assert_eq!(end, (TaskState::Failed, Some(TerminalReason::Internal)), "{}: {task:?}", damaged.sql);
        let words = task.summary.clone().unwrap_or_default();
        assert!(words.contains("cannot be read"), "{}: {words}", damaged.sql);
    }
    let id = damaged.id.to_string();
    for args in [["task", "show"], ["task", "why"]] {
        let said = site.machine.run(args.iter().chain([&id.as_str()])).expect(0);
        let says_why = said.stdout.concat().contains("cannot be read");
        assert!(says_why || !damaged.must_be_set_aside, "{}: {said:?}", damaged.sql);
    }
    let _ = site.machine.json(["task", "show", &id, "--json"]);
    let ends = site.frames(task.session).into_iter();
    let own = ends.filter(|frame| frame["type"] == "task_state" && frame["task_id"] == id);
    assert_eq!(own.count(), 1, "{}", damaged.sql);
}

#[test]
fn damaged_conversations_fail_nobody_else() {
    for kind in BOTH {
        let site = Site::new(kind);
        let serve = site.machine.serve([] as [&str; 0]);
        let broken = site.queue("demo", "/say one\n/write a.txt x", None);
        site.wait_for_end(broken.id);
        let num = site.sql(&format!("SELECT num FROM task WHERE id = '{}'", broken.id));
        for sql in [
            "UPDATE message_parts SET parts = '[{' WHERE message IN (SELECT num FROM message WHERE task = $)",
            "UPDATE message SET usage = 'none' WHERE task = $",
            "UPDATE frame SET body = '{\"type\":\"dream\"}' WHERE task = $ AND seq = 3",
            "UPDATE change SET draft = '}' WHERE task = $",
            "UPDATE checkpoint SET snapshot = '' WHERE task = $",
        ] {
            site.sql(&sql.replace('$', &num));
        }
        let next = site.queue("demo", "/say two\n/write b.txt x", Some(broken.session));
        assert_eq!(site.wait_for_end(next.id).state, TaskState::Completed, "{kind:?}");
        for args in [["task", "list"], ["session", "list"], ["change", "list"]] {
            let listed = site.machine.run(args).expect(0);
            assert!(!listed.stderr.contains("panicked"), "{}", listed.stderr);
        }
        // A stream with a hole in it is begun anew, in so many words.
        let watched = site.machine.watch(&next.id.to_string()).expect(0);
        assert_eq!(watched.kinds()[0], "reset", "{kind:?} {watched:?}");
        let _ = serve.stop().expect(0);
    }
}

#[test]
fn text_with_nul_and_half_characters_is_kept_or_marked() {
    let site = Site::new(Kind::Postgres);
    let serve = site.machine.serve([] as [&str; 0]);
    let prompt = "/nul\n/bad-utf8\n/think a thought\n/tool name text\n/say fine";
    let task = site.add("demo", prompt, None);
    let watched = site.machine.watch(&task.id.to_string()).expect(0);
    let ended = site.task(task.id);
    assert_eq!(ended.state, TaskState::Completed, "{ended:?}");
    assert!(
        watched.text().contains("a nul: \0.") && watched.text().ends_with("fine"),
        "{:?}",
        watched.text()
    );
    assert_eq!(watched.frames(), site.frames(task.session));
    let shown = site.machine.json(["task", "show", &task.id.to_string(), "--json"]).remove(0);
    let answer =
        shown["messages"].as_array().expect("messages").iter().find(|each| each["role"] == "assistant");
    let answer = answer.expect("an answer");
    assert_eq!(answer["state"], "complete");
    assert!(answer["content"].as_str().expect("text").contains("a nul: \u{2400}."), "{answer}");
    assert!(answer["parts"].to_string().contains("a nul: \\u0000."), "{answer}");
    assert!(ended.summary.expect("a summary").contains("a nul: \u{2400}."));
    let _ = site.machine.run(["task", "show", &task.id.to_string()]).expect(0);
    let _ = serve.stop().expect(0);
    site.assert_nothing_left();
}

#[test]
fn a_prompt_with_a_nul_reaches_the_agent_as_it_is() {
    for kind in BOTH {
        let site = Site::new(kind);
        let serve = site.machine.serve([] as [&str; 0]);
        let file = site.machine.root().join("prompt");
        fs::write(&file, "/say a\0b\u{1}c").expect("a file");
        let mut command = site.machine.boocoder(["task", "add", "--agent", "demo", "--file", "-"]);
        command.stdin(Stdio::from(File::open(&file).expect("the file")));
        let id: TaskId = Live::start(command).finish().expect(0).stdout[0].parse().expect("an id");
        let task = site.wait_for_end(id);
        assert_eq!((task.state, task.input.as_str()), (TaskState::Completed, "/say a\0b\u{1}c"));
        assert_eq!(site.text(task.session), "a\0b\u{1}c");
        let shown = site.machine.json(["task", "show", &id.to_string(), "--json"]).remove(0);
        assert_eq!(shown["task"]["input"], Value::from("/say a\0b\u{1}c"));
        let _ = site.machine.run(["task", "list"]).expect(0);
        // A title and a model's name go where a NUL cannot.
        let odd = TurnOptions { agent: Name::new("demo"), model: Name::new("m\0"), ..TurnOptions::default() };
        let input = format!("/say {}", "\0".repeat(40));
        let new = NewTask { options: odd, ..NewTask::new(TaskId::from_random([7; 16]), task.project, input) };
        let odd = site.try_ask(|records| async move { records.create_task(new).await });
        match odd {
            Ok(task) => assert_eq!(site.wait_for_end(task.id).state, TaskState::Completed),
            Err(refused) => assert!(matches!(refused, RecordsError::Refused(_)), "{refused}"),
        }
        let _ = serve.stop().expect(0);
    }
}
