//! What people put in: all of it works, or is refused with what is wrong, where, and what to do.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, chown},
    },
    path::Path,
};

use boocoder_tests::{
    model_server::{ModelServer, Reply, Script},
    product::{Finished, Live, Machine, text},
};
use rusqlite::Connection;

/// Runs a prompt with the demo agent and applies what it does.
fn apply(machine: &Machine, prompt: &str) -> Finished {
    machine.run(["run", "--agent", "demo", "--json", "--apply", prompt])
}

/// Checks a refusal: its exit code, that stderr says each of these words, and that nothing is left.
fn assert_refused(machine: &Machine, run: Finished, code: i32, words: &[&str]) {
    let run = run.expect(code);
    for word in words {
        assert!(run.stderr.contains(word), "{word:?} is missing in: {}", run.stderr);
    }
    assert_eq!(machine.wait_for_no_process(std::time::Duration::from_secs(5)), Ok(()));
    assert_eq!(machine.worktrees(), Vec::<std::path::PathBuf>::new());
    assert_eq!(machine.node_locks(), Vec::<std::path::PathBuf>::new());
}

// What must work.

#[test]
fn a_checkout_with_edits_of_all_kinds() {
    let machine = Machine::new();
    machine.write(".gitignore", "ignored\n");
    machine.write("unstaged.txt", "old\n");
    machine.write("staged.txt", "old\n");
    machine.git(["add", "--all"]);
    machine.git(["commit", "--quiet", "--message", "more"]);
    machine.write("unstaged.txt", "mine\n");
    machine.write("staged.txt", "mine\n");
    machine.git(["add", "staged.txt"]);
    machine.write("untracked.txt", "mine\n");
    machine.write("ignored", "mine\n");
    let before = machine.fingerprint();
    let status = machine.git(["status", "--porcelain"]);

    // The agent sees HEAD, and none of the user's edits.
    let run = machine.run([
        "run",
        "--agent",
        "demo",
        "--json",
        "--allow",
        "/shell ls; cat staged.txt unstaged.txt\n/write new.txt x",
    ]);
    let run = run.expect(0);
    let calls = run.frames().into_iter().rfind(|frame| frame["tool_call"]["kind"] == "execute").unwrap();
    let output = calls["tool_call"]["content"].to_string();
    assert!(
        !output.contains("mine") && !output.contains("untracked") && !output.contains("\\nignored"),
        "{output}"
    );
    assert!(machine.fingerprint() == before, "the user's repository was touched");

    machine.run(["change", "apply", text(&run.result()["change"]["id"])]).expect(0);
    assert_eq!(
        machine.git(["status", "--porcelain"]),
        format!("{status}?? new.txt\n")
            .replace("?? untracked.txt\n?? new.txt\n", "?? new.txt\n?? untracked.txt\n")
    );
    assert_eq!(machine.read("ignored").as_deref(), Some("mine\n"));
    machine.assert_nothing_left();
}

#[test]
fn a_repository_without_a_commit() {
    let machine = Machine::new();
    machine.git(["update-ref", "-d", "HEAD"]);
    machine.git(["rm", "-r", "--quiet", "--cached", "."]);
    apply(&machine, "/write new.txt x").expect(0).assert_orderly();
    assert_eq!(machine.read("new.txt").as_deref(), Some("x"));
    assert_eq!(machine.read("README.md").as_deref(), Some("# A repository\n"));
    machine.assert_nothing_left();
}

#[test]
fn a_detached_head() {
    let machine = Machine::new();
    machine.git(["checkout", "--quiet", "--detach"]);
    apply(&machine, "/write new.txt x").expect(0);
    assert_eq!(machine.read("new.txt").as_deref(), Some("x"));
    assert_eq!(machine.git(["branch", "--show-current"]), "");
    machine.assert_nothing_left();
}

#[test]
fn paths_with_spaces_quotes_and_newlines() {
    let name = "a b\"c'd\ne\\f$g`h ü";
    let machine = Machine::with_repository_named(name);
    let data = machine.root().join(format!("{name} data"));
    let mut command =
        machine.boocoder(["run", "--agent", "demo", "--json", "--apply", "/write \"a b.txt\" x\n/pwd"]);
    command.env("BOOCODER_DATA_DIR", &data);
    let run = Live::start(command).finish().expect(0);
    run.assert_orderly();
    assert!(run.text().contains(data.to_str().unwrap()), "{}", run.text());
    assert_eq!(machine.read("a b.txt").as_deref(), Some("x"));
    // One line a task, whatever the folder is called.
    let mut list = machine.boocoder(["task", "list", "--all"]);
    list.env("BOOCODER_DATA_DIR", &data);
    assert_eq!(Live::start(list).finish().expect(0).stdout.len(), 2);
}

#[test]
fn a_large_prompt_from_a_file_and_from_stdin() {
    let machine = Machine::new();
    let prompt =
        format!("/write a.txt x\n{}\n/history", "All work and no play makes a dull prompt. ".repeat(25_000));
    assert!(prompt.len() > 1024 * 1024);
    let file = machine.root().join("prompt");
    fs::write(&file, &prompt).unwrap();
    let from_file = machine.run([
        OsStr::new("run"),
        "--agent".as_ref(),
        "demo".as_ref(),
        "--json".as_ref(),
        "--file".as_ref(),
        file.as_ref(),
    ]);
    let mut runs = vec![from_file];
    for args in [&["-"][..], &["--file", "-"], &[]] {
        let mut command = machine.boocoder(["run", "--agent", "demo", "--json"].iter().chain(args));
        command.stdin(File::open(&file).unwrap());
        runs.push(Live::start(command).finish());
    }
    for run in runs {
        let run = run.expect(0);
        let shown = machine.json(["task", "show", text(&run.result()["task"]), "--json"]).remove(0);
        assert!(shown["task"]["input"] == prompt.as_str(), "the prompt is not stored as it is");
        assert!(run.text().contains("1 prompt") || run.text().contains("1"), "{}", run.text());
        assert_eq!(run.result()["change"]["additions"], 1);
    }
    machine.assert_nothing_left();
}

#[test]
fn words_of_the_command_line_are_one_prompt() {
    let machine = Machine::new();
    let run = machine.run(["run", "--agent", "demo", "--json", "say", "it", "again"]).expect(0);
    assert_eq!(
        machine.json(["task", "show", text(&run.result()["task"]), "--json"])[0]["task"]["input"],
        "say it again"
    );
}

#[test]
fn a_folder_below_the_top_and_a_project_elsewhere() {
    let machine = Machine::new();
    let mut below = machine.boocoder(["run", "--agent", "demo", "--json", "--apply", "/write new.txt x"]);
    below.current_dir(machine.repository().join("src"));
    Live::start(below).finish().expect(0);
    assert_eq!(machine.read("new.txt").as_deref(), Some("x"));

    let mut elsewhere =
        machine.boocoder(["run", "--agent", "demo", "--json", "--apply", "/write other.txt x"]);
    elsewhere.current_dir("/").arg("--project").arg(machine.repository());
    Live::start(elsewhere).finish().expect(0);
    assert_eq!(machine.read("other.txt").as_deref(), Some("x"));
    assert_eq!(machine.json(["task", "list", "--json"]).len(), 2, "both are of one project");
}

#[test]
fn a_linked_worktree_as_the_checkout() {
    let machine = Machine::new();
    let linked = machine.root().join("linked");
    machine.git(["worktree", "add", "--quiet", "-b", "side", linked.to_str().unwrap()]);
    fs::write(linked.join("side.txt"), "side\n").unwrap();
    let git = |args: &[&str]| {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.org"])
            .args(args)
            .current_dir(&linked)
            .status();
        assert!(status.unwrap().success());
    };
    git(&["add", "side.txt"]);
    git(&["commit", "--quiet", "--message", "side"]);
    let before = machine.fingerprint();
    let mut command = machine.boocoder([
        "run",
        "--agent",
        "demo",
        "--json",
        "--apply",
        "/read side.txt\n/write side.txt theirs",
    ]);
    command.current_dir(&linked);
    Live::start(command).finish().expect(0).assert_orderly();
    assert_eq!(fs::read_to_string(linked.join("side.txt")).unwrap(), "theirs");
    assert!(machine.fingerprint() == before, "the main checkout was touched");
    assert_eq!(machine.worktrees(), [machine.repository().join(".git/worktrees/linked")]);
}

// What is refused.

#[test]
fn no_repository_and_a_bare_one() {
    let machine = Machine::new();
    let folder = machine.root().join("empty");
    fs::create_dir(&folder).unwrap();
    let bare = machine.root().join("bare.git");
    machine.git(["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    let nowhere = machine.root().join("nowhere");
    for (place, what) in [
        (&folder, &["is not a git repository", "git init"][..]),
        (&bare, &["bare", "--project"]),
        (&nowhere, &["does not exist"]),
    ] {
        let mut command = machine.boocoder(["run", "--agent", "demo", "--json", "x"]);
        command.arg("--project").arg(place);
        let run = Live::start(command).finish();
        assert_eq!(run.stdout, Vec::<String>::new());
        let words: Vec<_> = what.iter().copied().chain([place.to_str().unwrap()]).collect();
        assert_refused(&machine, run, 2, &words);
    }
    assert!(fs::read_dir(&folder).unwrap().next().is_none());
}

#[test]
fn agents_that_are_not_there() {
    let mut machine = Machine::new();
    machine.set("PATH", "/usr/bin:/bin");
    machine.configure(
        "agents.gone = { command = [\"/nowhere/agent\"], transport = \"acp\" }\n\
         agents.lost = { command = [\"no-such-program\"], transport = \"acp\" }",
    );
    for (agent, words) in [
        ("nonsense", &["agent nonsense is not installed", "known are", "[agents.NAME]"][..]),
        ("goose", &["agent goose is not installed", "https://"]),
        ("opencode", &["agent opencode is not installed", "npm install"]),
        ("gone", &["agent gone is not installed", "/nowhere/agent"]),
        ("lost", &["agent lost is not installed", "no-such-program", "[agents.lost]"]),
    ] {
        assert_refused(&machine, machine.run(["run", "--agent", agent, "x"]), 2, words);
    }
    assert_refused(&machine, machine.run(["run", "--agent", "", "x"]), 2, &["agent"]);
}

#[test]
fn agents_that_do_not_start() {
    let mut machine = Machine::new();
    let faults = [
        (
            "exits",
            &["--fault", "stderr=no key found", "--fault", "exit=7"][..],
            &["exit", "7", "initialize", "no key found"][..],
        ),
        ("prints", &["--fault", "stderr=what is this", "--fault", "garbage"], &["not ACP", "what is this"]),
        ("silent", &["--fault", "stderr=thinking", "--fault", "silent"], &["initialize", "5 s", "thinking"]),
        ("old", &["--fault", "version=7"], &["version 7"]),
        ("refuses", &["--fault", "no-session"], &["session/new"]),
    ];
    let agents: String = faults.iter().map(|(name, args, _)| Machine::demo_agent(name, args)).collect();
    let text_file = machine.root().join("text");
    fs::write(&text_file, "#!/nowhere/interpreter\n").unwrap();
    fs::set_permissions(&text_file, fs::Permissions::from_mode(0o755)).unwrap();
    machine.configure(&format!(
        "limits.start_s = 5\n{agents}[agents.text]\ntransport = \"acp\"\ncommand = [{:?}]\n",
        text_file
    ));
    let mut all: Vec<_> = faults.iter().map(|(name, _, words)| (*name, *words)).collect();
    all.push(("text", &["agent text could not be started"]));
    for (agent, words) in all {
        let run = machine.run(["run", "--agent", agent, "--json", "x"]);
        run.assert_orderly();
        let result = run.result();
        assert_eq!(
            (text(&result["state"]), text(&result["reason"])),
            ("failed", "could_not_start"),
            "{result}"
        );
        for word in words.iter().chain([&agent]) {
            assert!(text(&result["summary"]).contains(word), "{word:?} is missing in: {result}");
        }
        assert_refused(&machine, run, 3, &[]);
        // A person reads the same.
        let told = machine.run(["run", "--agent", agent, "x"]).expect(3);
        let told = told.stdout.join("\n") + &told.stderr;
        words.iter().for_each(|word| assert!(told.contains(word), "{word:?} is missing in: {told}"));
    }
    machine.assert_nothing_left();
}

#[test]
fn prompts_that_are_none() {
    let machine = Machine::new();
    let bytes = machine.root().join("bytes");
    fs::write(&bytes, b"ok \xff no").unwrap();
    let empty = ["the prompt is empty", "boocoder run \""];
    assert_refused(&machine, machine.run(["run", "--agent", "demo", " \n "]), 2, &empty);
    assert_refused(&machine, machine.run(["run", "--agent", "demo"]), 2, &empty);
    assert_refused(&machine, machine.run(["run", "--agent", "demo", "--file", "/dev/null"]), 2, &empty);
    let from_file = machine.run(["run", "--agent", "demo", "--file", bytes.to_str().unwrap()]);
    assert_refused(&machine, from_file, 2, &[bytes.to_str().unwrap(), "not UTF-8", "byte 3"]);
    let mut from_stdin = machine.boocoder(["run", "--agent", "demo"]);
    from_stdin.stdin(File::open(&bytes).unwrap());
    assert_refused(&machine, Live::start(from_stdin).finish(), 2, &["stdin", "not UTF-8", "byte 3"]);
    let mut word = machine.boocoder(["run", "--agent", "demo"]);
    word.arg(OsStr::from_bytes(b"ok \xff no"));
    assert_refused(&machine, Live::start(word).finish(), 2, &["UTF-8"]);
    assert_refused(
        &machine,
        machine.run(["run", "--file", "/nowhere/prompt"]),
        2,
        &["/nowhere/prompt", "No such file"],
    );
    assert_refused(&machine, machine.run(["run", "--file", "/"]), 2, &["the prompt from /", "directory"]);
}

#[test]
fn data_directories_that_cannot_be_used() {
    let machine = Machine::new();
    let file = machine.root().join("file");
    fs::write(&file, "mine").unwrap();
    let foreign = machine.root().join("foreign");
    fs::create_dir(&foreign).unwrap();
    // Nobody but root can give folders away; for others, root's serve.
    let foreign = if fs::metadata(&foreign).unwrap().uid() == 0 {
        chown(&foreign, Some(12_345), None).unwrap();
        foreign
    } else {
        Path::new("/usr").to_owned()
    };
    // In /proc nobody makes folders, root included.
    let places = [file.as_path(), &file.join("below"), &foreign, Path::new("/proc/boocoder")];
    for place in places {
        for args in [&["run", "--agent", "demo", "x"][..], &["task", "list"], &["doctor"]] {
            let mut command = machine.boocoder(args);
            command.arg("--data-dir").arg(place);
            let words = [place.to_str().unwrap(), "choose another data folder"];
            assert_refused(&machine, Live::start(command).finish(), 3, &words);
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_record_that_is_newer_or_none() {
    let machine = Machine::new();
    apply(&machine, "/say hello").expect(0);
    let database = machine.data_dir().join("boocoder.db");
    // A process that ends in a hurry leaves its last writes in the log beside the file.
    let merge = |connection: Connection| connection.pragma_query(None, "wal_checkpoint", |_| Ok(()));
    Connection::open(&database).and_then(merge).unwrap();
    assert!(!database.with_extension("db-wal").exists(), "the log was merged");
    let good = fs::read(&database).unwrap();
    // `user_version` lies at offset 60 of a SQLite file (https://www.sqlite.org/fileformat.html, 1.3).
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    for (content, words) in [
        (newer.as_slice(), &["schema 99", "newer boocoder"][..]),
        (b"This is not a database, whatever it is called. It is long enough for a header, though, so that it is read. ".as_slice(), &["not a database"]),
    ] {
        fs::write(&database, content).unwrap();
        for args in [&["run", "--agent", "demo", "x"][..], &["task", "list"]] {
            let words: Vec<_> = words.iter().copied().chain([database.to_str().unwrap()]).collect();
            assert_refused(&machine, machine.run(args), 3, &words);
        }
        assert!(fs::read(&database).unwrap() == content, "the record was touched");
    }
    fs::write(&database, good).unwrap();
    apply(&machine, "/say hello").expect(0);
}

#[test]
fn paths_that_are_not_utf8() {
    let machine = Machine::new();
    let data = machine.root().join(OsStr::from_bytes(b"data\xff"));
    let mut command = machine.boocoder(["run", "--agent", "demo", "--json", "x"]);
    command.env("BOOCODER_DATA_DIR", &data);
    let run = Live::start(command).finish();
    let result = run.result();
    assert!(text(&result["summary"]).contains("UTF-8"), "{result}");
    assert!(text(&result["summary"]).contains("data folder"), "{result}");
    run.assert_orderly();
    assert_refused(&machine, run, 3, &[]);

    let machine = Machine::with_repository_named(OsStr::from_bytes(b"repo\xff"));
    let before = machine.fingerprint();
    // The repository's own path never reaches the agent.
    let run = machine.run(["run", "--agent", "demo", "--json", "/write new.txt x"]).expect(0);
    run.assert_orderly();
    assert!(machine.fingerprint() == before, "the user's repository was touched");
    machine.run(["change", "apply", text(&run.result()["change"]["id"])]).expect(0);
    assert_eq!(machine.read("new.txt").as_deref(), Some("x"));
    assert_eq!(machine.json(["task", "list", "--json"]).len(), 1);
    machine.assert_nothing_left();
}

#[test]
fn configurations_that_are_wrong() {
    let mut machine = Machine::new();
    for (content, words) in [
        ("agent = \"demo\"\nmodel = [\n", &["line 2", "TOML"][..]),
        ("agent = \"demo\"\nmodle = \"x\"\n", &["line 2", "modle"]),
        ("[limits]\nsilence = 3\n", &["line 2", "silence"]),
        ("[limits]\nsilence_s = \"soon\"\n", &["line 2", "silence_s", "soon"]),
        ("[limits]\nsilence_s = -1\n", &["silence_s", "-1"]),
        ("permissions = \"sometimes\"\n", &["line 1", "permissions", "sometimes"]),
        ("[agents.mine]\ncommand = \"agent\"\n", &["line 2", "command"]),
        ("[agents.mine]\ncommand = []\n", &["[agents.mine]", "command"]),
        ("[agents.mine]\ncommand = [\"a\"]\ntransport = \"smoke\"\n", &["line 3", "transport", "smoke"]),
        ("[agents.mine]\ncommand = [\"./agent\"]\n", &["[agents.mine]", "./agent", "absolute path"]),
        (
            "[agents.mine]\ncommand = [\"agent\"]\nenv = { LD_PRELOAD = \"x\" }\n",
            &["[agents.mine]", "LD_PRELOAD"],
        ),
    ] {
        let path = machine.configure(content);
        let words: Vec<_> = words.iter().copied().chain([path.to_str().unwrap()]).collect();
        assert_refused(&machine, machine.run(["run", "--agent", "demo", "x"]), 2, &words);
    }
    machine.set("BOOCODER_CONFIG", "/nowhere/boocoder.toml");
    assert_refused(&machine, machine.run(["doctor"]), 2, &["/nowhere/boocoder.toml"]);
    let mut machine = Machine::new();
    machine.set("BOOCODER_LIMITS__SILENCE_S", "soon");
    assert_refused(&machine, machine.run(["run", "x"]), 2, &["silence_s", "soon", "BOOCODER_"]);
}

#[test]
fn each_key_is_also_a_variable() {
    let mut machine = Machine::new();
    machine.configure("agent = \"nonsense\"\nmodel = \"demo-1\"");
    machine
        .set("BOOCODER_AGENT", "demo")
        .set("BOOCODER_MODEL", "demo-2")
        .set("BOOCODER_LIMITS__SILENCE_S", "1");
    let run = machine.run(["run", "--json", "/settings\n/stall"]).expect(1);
    assert!(run.text().contains("demo-2"), "{}", run.text());
    assert_eq!(run.result()["reason"], "stalled");
    machine.assert_nothing_left();
}

#[test]
fn a_variable_is_taken_to_the_letter() {
    let mut machine = Machine::new();
    machine.set("BOOCODER_MODEL", "4.10").set("BOOCODER_MODE", "007").set("BOOCODER_THINKING", "TRUE");
    let run = machine.run(["run", "--agent", "demo", "--json", "/say done"]).expect(0);
    let options = machine.task(text(&run.result()["task"]))["options"].take();
    assert_eq!(
        (text(&options["model"]), text(&options["mode"]), text(&options["thinking"])),
        ("4.10", "007", "TRUE")
    );

    let model = ModelServer::start();
    let mut machine = Machine::new();
    machine
        .set("BOOCODER_NATIVE__ENDPOINT", format!("{}/v1", model.url()))
        .set("BOOCODER_NATIVE__API_KEY", "00123")
        .set("BOOCODER_NATIVE__MODEL", "1e3");
    model.when("say it", Script::new().then(Reply::text("It.")));
    let _ = machine.run(["run", "--agent", "native", "say it"]).expect(0);
    let asked = model.requests().pop().expect("a request");
    assert_eq!((asked.credentials.as_deref(), asked.model.as_str()), (Some("Bearer 00123"), "1e3"));
}

#[test]
fn a_key_that_is_no_text_is_also_a_variable() {
    let numbers = [
        ("BOOCODER_SERVE__AGENTS__DEMO", "demo"),
        ("BOOCODER_SERVE__SLOTS", "slots"),
        ("BOOCODER_SERVE__POLL_S", "poll_s"),
        ("BOOCODER_SERVE__GRACE_S", "grace_s"),
        ("BOOCODER_POOL__IDLE_S", "idle_s"),
        ("BOOCODER_POOL__MOST", "most"),
        ("BOOCODER_NATIVE__CONTEXT_SIZE", "context_size"),
        ("BOOCODER_LIMITS__SILENCE_S", "silence_s"),
        ("BOOCODER_LIMITS__TOOL_SILENCE_S", "tool_silence_s"),
        ("BOOCODER_LIMITS__PERMISSION_S", "permission_s"),
        ("BOOCODER_LIMITS__START_S", "start_s"),
        ("BOOCODER_LIMITS__DIFF_S", "diff_s"),
        ("BOOCODER_LIMITS__STOP_GRACE_S", "stop_grace_s"),
        ("BOOCODER_LIMITS__OUTPUT_BYTES", "output_bytes"),
    ];
    let switches = [
        ("BOOCODER_ROUTES__OPENCODE_SERVER", "opencode_server"),
        ("BOOCODER_ROUTES__CLAUDE_SDK", "claude_sdk"),
        ("BOOCODER_ROUTES__WARM_ACP", "warm_acp"),
        ("BOOCODER_ROUTES__ONE_SHOT_ACP", "one_shot_acp"),
        ("BOOCODER_ROUTES__ONE_SHOT_PTY", "one_shot_pty"),
    ];
    let mut machine = Machine::new();
    for (name, _) in numbers {
        machine.set(name, "7");
    }
    for (name, _) in switches {
        machine.set(name, "true");
    }
    let _ = machine.run(["doctor"]).expect(0);
    for (name, key) in numbers.iter().chain(&switches) {
        let mut command = machine.boocoder(["doctor"]);
        command.env(name, "soon");
        assert_refused(&machine, Live::start(command).finish(), 2, &[key, "soon", "BOOCODER_"]);
    }
    // What a list of rules would be as a text, nobody would guess.
    machine.set("BOOCODER_PERMISSION_RULES", "[]");
    assert_refused(&machine, machine.run(["doctor"]), 2, &["permission_rules", "BOOCODER_"]);
}

// A repository's own configuration.

#[test]
fn a_repositorys_own_agents_run_only_when_it_is_trusted() {
    let mut machine = Machine::new();
    machine.set("PATH", "/usr/bin:/bin");
    let (ran, other) = (machine.root().join("ran"), machine.root().join("other"));
    let own = format!(
        "agent = \"evil\"\nmodel = \"demo-2\"\npermissions = \"allow\"\ndata_dir = {other:?}\n\
         [agents.evil]\ncommand = [\"/bin/sh\", \"-c\", \"touch '{}'\"]\n\
         [agents.demo]\ncommand = [\"/bin/sh\", \"-c\", \"touch '{}'\"]\n",
        ran.display(),
        ran.display()
    );
    machine.write("boocoder.toml", &own);
    let ask = ["run", "--json", "/settings\n/ask May I?\n/say allowed"];
    let untrusted = |machine: &Machine| {
        let run = machine.run(ask).expect(0);
        for word in ["boocoder.toml is not trusted", "agent, ", "agents", "permissions", "boocoder trust"] {
            assert!(run.stderr.contains(word), "{word} is missing in {}", run.stderr);
        }
        // What cannot run anything holds all the same.
        assert!(run.text().contains("demo-2") && !run.text().contains("allowed"), "{}", run.text());
        for args in [&["agents"][..], &["doctor"], &["task", "list"], &["run", "--agent", "evil", "x"]] {
            let _ = machine.run(args);
        }
        assert!(!ran.exists(), "an untrusted repository's program was run");
    };
    untrusted(&machine);

    let trusted = machine.run(["trust"]).expect(0);
    assert!(trusted.stdout.join("\n").contains("boocoder.toml"), "{trusted:?}");
    machine.run(["run", "--json", "x"]).expect(3);
    assert!(ran.exists(), "a trusted repository's agent was not run");
    assert!(!other.exists(), "a repository never moves the data directory");

    // Trust is for the file as it stood.
    fs::remove_file(&ran).unwrap();
    machine.write("boocoder.toml", format!("{own}\n"));
    untrusted(&machine);
    machine.write("boocoder.toml", &own);
    machine.run(["run", "--json", "x"]).expect(3);
    assert!(ran.exists());
}

#[test]
fn there_must_be_something_to_trust() {
    let machine = Machine::new();
    assert_refused(&machine, machine.run(["trust"]), 2, &["boocoder.toml", "nothing to trust"]);
    machine.write("boocoder.toml", "nonsense = 1\n");
    assert_refused(&machine, machine.run(["trust"]), 2, &["boocoder.toml", "nonsense"]);
    machine.write("boocoder.toml", "agent = [\n");
    assert_refused(&machine, machine.run(["run", "x"]), 2, &["boocoder.toml", "line 1"]);
}
