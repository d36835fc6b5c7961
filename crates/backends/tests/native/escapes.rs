//! Nothing outside of the worktree is read, listed, searched or written, and nothing of git's.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::common::{Fixture, results};
use crate::server::{Reply, calls, says};

/// What may not be reached: outside, by name or by link, and git's files.
fn forbidden(fixture: &Fixture) -> Vec<String> {
    let outside = fixture.place.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "the secret\n").unwrap();
    fixture.write(".git/config", "the secret\n");
    fixture.write("sub/.GIT/config", "the secret\n");
    let tree = fixture.worktree();
    symlink(&outside, tree.join("absolute")).unwrap();
    symlink("../outside", tree.join("relative")).unwrap();
    symlink("../outside/secret", tree.join("file")).unwrap();
    symlink("../outside/new", tree.join("dangling")).unwrap();
    symlink(".git", tree.join("repository")).unwrap();
    symlink(".git/config", tree.join("configuration")).unwrap();
    symlink("/proc/self/root", tree.join("magic")).unwrap();
    let there = outside.join("secret").display().to_string();
    [
        "../outside/secret",
        "sub/../../outside/secret",
        "absolute/secret",
        "relative/secret",
        "file",
        "dangling",
        ".git/config",
        "./.git/config",
        "sub/.GIT/config",
        "repository/config",
        "configuration",
        "magic/etc/passwd",
        "/etc/passwd",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([there])
    .collect()
}

fn outside_is_untouched(fixture: &Fixture) {
    let outside = fixture.place.path().join("outside");
    let names: Vec<_> =
        std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"]);
    assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "the secret\n");
    assert_eq!(fixture.read(".git/config"), "the secret\n");
}

#[tokio::test]
async fn no_path_leads_out() {
    for tool in ["read_file", "write_file", "edit_file"] {
        let fixture = Fixture::new([]).await;
        let paths = forbidden(&fixture);
        let call = |path: &String| {
            let arguments = json!({ "path": path, "content": "x", "old_text": "secret", "new_text": "x" });
            (tool, arguments)
        };
        let wanted: Vec<(&str, Value)> = paths.iter().map(call).collect();
        fixture.server.answer([calls(&wanted), says("done")]);
        let (said, _) = fixture.run().await;
        for (path, told) in paths.iter().zip(results(&fixture.server)) {
            assert!(!told.contains("the secret") && !told.contains("is written"), "{tool} {path}: {told}");
        }
        assert!(said.permissions().is_empty(), "nobody is asked for what cannot be: {tool}");
        outside_is_untouched(&fixture);
    }
}

#[tokio::test]
async fn no_folder_outside_is_listed_or_searched() {
    let fixture = Fixture::new([]).await;
    forbidden(&fixture);
    let folders =
        ["..", "/", "absolute", "relative", ".git", "repository", "magic", "sub/.GIT", "../outside"];
    let mut wanted =
        vec![("search", json!({ "pattern": "the secret" })), ("list_files", json!({ "recursive": true }))];
    for folder in folders {
        wanted.push(("list_files", json!({ "path": folder })));
        wanted.push(("search", json!({ "path": folder, "pattern": "secret" })));
    }
    fixture.server.answer([calls(&wanted), says("done")]);
    fixture.run().await;
    let told = results(&fixture.server);
    assert_eq!(told[0], "(nothing found)\n");
    for told in &told {
        assert!(
            !told.contains("the secret") && !told.contains("passwd") && !told.contains("config\n"),
            "{told}"
        );
    }
    assert!(!told[1].contains("secret") && !told[1].to_ascii_lowercase().contains(".git/"), "{}", told[1]);
}

/// Somebody, perhaps a command that the model left running, swaps a folder for a link while we look.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_link_leads_nowhere() {
    let rounds = 40;
    let each = [
        ("read_file", json!({ "path": "door/secret" })),
        ("search", json!({ "pattern": "the secret" })),
        ("write_file", json!({ "path": "door/secret", "content": "harmless\n" })),
    ];
    let answers: Vec<Reply> = (0..rounds).map(|_| calls(&each)).chain([says("done")]).collect();
    let fixture = Fixture::new(answers).await;
    forbidden(&fixture);
    let tree = fixture.worktree().to_owned();
    std::fs::create_dir(tree.join("door")).unwrap();
    std::fs::write(tree.join("door/secret"), "harmless\n").unwrap();
    symlink("../outside", tree.join("other")).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let swapping = Arc::clone(&over);
    let swapper = std::thread::spawn(move || {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let (door, other) = (tree.join("door"), tree.join("other"));
        while !swapping.load(Ordering::Relaxed) {
            renameat_with(CWD, &door, CWD, &other, RenameFlags::EXCHANGE).unwrap();
        }
    });
    let (_, end) = fixture.run().await;
    over.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(end.how, dispatch_core::agent::EndedHow::Completed);
    for told in results(&fixture.server) {
        assert!(!told.contains("the secret"), "{told}");
    }
    outside_is_untouched(&fixture);
}
