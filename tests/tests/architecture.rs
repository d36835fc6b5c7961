//! The shape of the workspace: who may depend on whom, and what the core may use.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What the core may use: words for JSON, errors, and `async fn` in the signatures of ports.
const CORE_MAY_USE: &[&str] = &["async-trait", "serde", "serde_json", "thiserror"];

/// Which crates of ours each crate may use. Dependencies point inward, and adapters do not know each other.
const LAYERS: &[(&str, &[&str])] = &[
    ("acp-proto", &[]),
    ("dispatch-core", &[]),
    ("conformance", &["dispatch-core"]),
    ("dispatch-driver", &["dispatch-core"]),
    ("store", &["dispatch-core"]),
    ("worktree", &["dispatch-core"]),
    ("backends", &["acp-proto", "dispatch-core"]),
    ("demo-agent", &[]),
    ("test-postgres", &[]),
    ("xtask", &["test-postgres"]),
    ("boocoder", &["backends", "demo-agent", "dispatch-core", "dispatch-driver", "store", "worktree"]),
];

/// Packages that put the whole together, as the program itself does.
const MAY_USE_ANY: &[&str] = &["boocoder-tests", "boocoder-examples"];

/// What only tests of a crate may use beside its layer.
const FOR_TESTS: &[&str] = &["conformance", "demo-agent", "test-postgres"];

/// How many lines a file may have before it has to say why.
const LONG: usize = 600;

/// Files that are longer, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

struct Package {
    name: String,
    folder: PathBuf,
    /// The names it depends on, and whether only its tests do.
    uses: Vec<(String, bool)>,
}

fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("because tests/ is a member's folder").to_owned()
}

fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let uses = |dependency: &Value| (text(&dependency["name"]), dependency["kind"] == "dev");
    let package = |package: &Value| Package {
        name: text(&package["name"]),
        folder: Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned(),
        uses: package["dependencies"].as_array().unwrap().iter().map(uses).collect(),
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn the_core_uses_nothing_that_touches_the_world() {
    let core = packages().into_iter().find(|package| package.name == "dispatch-core").unwrap();
    for (name, only_tests) in &core.uses {
        assert!(*only_tests || CORE_MAY_USE.contains(&name.as_str()), "dispatch-core uses {name}");
    }
    let purity = fs::read_to_string(core.folder.join("clippy.toml")).unwrap();
    for word in ["allow-unwrap-in-tests", "std::time::Instant::now", "std::thread::spawn", "std::fs::File"] {
        assert!(purity.contains(word), "dispatch-core's clippy.toml does not mention {word}");
    }
}

#[test]
fn dependencies_point_inward() {
    let packages = packages();
    let ours: BTreeSet<_> = packages.iter().map(|package| package.name.as_str()).collect();
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    for package in &packages {
        if MAY_USE_ANY.contains(&package.name.as_str()) {
            continue;
        }
        let Some(allowed) = layers.get(package.name.as_str()) else {
            panic!("{} has no place in the layers: give it one", package.name);
        };
        for (used, only_tests) in package.uses.iter().filter(|(used, _)| ours.contains(used.as_str())) {
            let used = used.as_str();
            let may = allowed.contains(&used) || (*only_tests && FOR_TESTS.contains(&used));
            assert!(may, "{} must not use {used}", package.name);
        }
    }
    for name in layers.keys().chain(MAY_USE_ANY) {
        assert!(ours.contains(name), "{name} has a place in the layers, but is no package");
    }
}

#[test]
fn every_package_has_the_workspace_lints() {
    for package in packages() {
        let manifest = fs::read_to_string(package.folder.join("Cargo.toml")).unwrap();
        let lints = manifest.split("[lints]\n").nth(1).and_then(|rest| rest.lines().next());
        assert_eq!(lints, Some("workspace = true"), "{}", package.name);
    }
}

#[test]
fn long_files_say_why() {
    let root = root();
    let mut long = BTreeSet::new();
    for package in packages() {
        for file in sources(&package.folder.join("src")) {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let listed = LONG_FILES.iter().any(|(path, _)| *path == name);
            assert!(lines <= LONG || listed, "{name} has {lines} lines: split it, or list it with a reason");
            if lines > LONG {
                long.insert(name);
            }
        }
    }
    for (name, _) in LONG_FILES {
        assert!(long.contains(*name), "{name} is on the list of long files, but is not long");
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    if !folder.is_dir() {
        return found; // A package may be made of examples alone.
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
