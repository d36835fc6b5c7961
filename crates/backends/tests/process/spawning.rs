//! What starts, with what, and what does not.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backends::process::{SpawnError, Status, Supervisor};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::common::{helper, output_of, read_all, spawn, status_field, supervisor, supervisor_of};
use crate::fresh_tag::fresh_tag;
use crate::waiting::within;

const BOTH: fn() -> [Supervisor; 2] = || [supervisor(), Supervisor::ProcessGroupOnly];

#[tokio::test]
async fn the_agent_inherits_three_streams_and_no_more() {
    // Neither what this process leaves open on purpose.
    let leaked = fs::File::open("/dev/null").unwrap();
    fcntl(&leaked, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    assert!(leaked.as_raw_fd() > 2);
    assert_eq!(output_of(&["open-files"]).await, "0 1 2\n");
}

#[tokio::test]
async fn the_agent_starts_with_default_signals() {
    let text = output_of(&["signals"]).await;
    let masks = text.lines().map(|line| {
        let (field, mask) = line.split_once(":\t").unwrap();
        // Signals 1 to 31; the C library keeps the next two for itself.
        (field, u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff)
    });
    assert_eq!(masks.collect::<Vec<_>>(), [("SigBlk", 0), ("SigIgn", 0)]);
}

#[tokio::test]
async fn the_agent_sees_its_own_environment_and_the_tag() {
    let mut command = helper(&["environment"]);
    command.env.insert("NAME".into(), "a=b".into());
    command.env.insert("BOOCODER_RUN".into(), "someone/else".into());
    for supervisor in BOTH() {
        let mut child = command.spawn(&supervisor).await.unwrap();
        let text = String::from_utf8(read_all(&mut child.take_stdout().unwrap()).await).unwrap();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort();
        assert_eq!(lines, [format!("BOOCODER_RUN={}", command.tag), "NAME=a=b".to_owned()]);
    }
}

#[tokio::test]
async fn the_agent_starts_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = fs::canonicalize(folder.path()).unwrap();
    let mut command = helper(&["folder"]);
    command.cwd.clone_from(&folder);
    let mut child = spawn(&command).await;
    let text = read_all(&mut child.take_stdout().unwrap()).await;
    assert_eq!(String::from_utf8(text).unwrap(), format!("{}\n", folder.display()));
}

#[tokio::test]
async fn a_program_is_looked_for_in_the_agents_path() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(crate::common::HELPER, folder.path().join("the-agent")).unwrap();
    let mut command = helper(&["exit", "5"]);
    command.program = "the-agent".into();
    assert!(matches!(command.spawn(&supervisor()).await, Err(SpawnError::NotFound { .. })));
    command.env.insert("PATH".into(), folder.path().into());
    assert_eq!(within(spawn(&command).await.wait()).await.status, Status::Code(5));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, mode, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let plain = file("plain", 0o644, "");
    let orphan = file("orphan", 0o755, "#!/nowhere/to/be/found\n");
    let run = |program: &Path, cwd: &Path| {
        let mut command = helper(&[]);
        command.program = program.into();
        command.cwd = cwd.into();
        command
    };
    for supervisor in BOTH() {
        let refusal = async |program: &Path, cwd: &Path| {
            let command = run(program, cwd);
            let refusal = within(command.spawn(&supervisor)).await.unwrap_err();
            assert_eq!(backends::process::leftovers(&command.tag), [], "{refusal}");
            refusal
        };
        let root = Path::new("/");
        let missing = Path::new("/nowhere/at/all");
        assert!(matches!(refusal(missing, root).await, SpawnError::NotFound { .. }));
        assert!(matches!(refusal(&orphan, root).await, SpawnError::NotFound { .. }));
        assert!(matches!(refusal(&plain, root).await, SpawnError::PermissionDenied { .. }));
        assert!(matches!(refusal(root, root).await, SpawnError::PermissionDenied { .. }));
        let helper = Path::new(crate::common::HELPER);
        for cwd in [missing, &plain] {
            let error = refusal(helper, cwd).await;
            assert!(matches!(&error, SpawnError::Directory { path, .. } if path == cwd), "{error:?}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_passed_is_refused_by_name() {
    let refusal = async |change: fn(&mut backends::process::Command)| {
        let mut command = helper(&["exit", "0"]);
        change(&mut command);
        within(command.spawn(&supervisor())).await.unwrap_err().to_string()
    };
    assert_eq!(refusal(|command| command.program.clear()).await, "program cannot be passed to a program");
    assert_eq!(
        refusal(|command| command.args[1].push("\0")).await,
        "argument 2 cannot be passed to a program"
    );
    assert_eq!(
        refusal(|command| command.cwd = "relative".into()).await,
        "working folder relative cannot be passed to a program"
    );
    assert_eq!(
        refusal(|command| drop(command.env.insert("A=B".into(), "".into()))).await,
        "environment variable A=B cannot be passed to a program"
    );
    assert_eq!(
        refusal(|command| command.fence = Some(Duration::from_millis(1))).await,
        "fence of 1ms is too short to be kept"
    );
    let giant = "x".repeat(9 * 1024 * 1024);
    let mut command = helper(&[&giant]);
    assert!(matches!(command.spawn(&supervisor()).await, Err(SpawnError::TooLarge { .. })));
    command.args = vec![giant[..1024 * 1024].into()];
    // Linux takes 128 KiB for one argument.
    let error = command.spawn(&supervisor()).await.unwrap_err();
    assert!(
        matches!(&error, SpawnError::Execute { source, .. } if source.raw_os_error() == Some(7)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_fence_without_a_supervisor_is_refused() {
    let mut command = helper(&["exit", "0"]);
    command.fence = Some(Duration::from_secs(1));
    let error = command.spawn(&Supervisor::ProcessGroupOnly).await.unwrap_err();
    assert!(matches!(error, SpawnError::FenceWithoutSupervisor), "{error:?}");
}

#[tokio::test]
async fn limits_may_be_endless() {
    for supervisor in BOTH() {
        let mut command = helper(&["exit", "4"]);
        command.limits.start = Duration::MAX;
        command.limits.drain = Duration::MAX;
        let mut child = command.spawn(&supervisor).await.unwrap();
        assert_eq!(within(child.wait()).await.status, Status::Code(4));
    }
}

#[tokio::test]
async fn large_environments_get_through() {
    let mut command = helper(&["exit", "0"]);
    for number in 0..15 {
        command.env.insert(format!("V{number}").into(), "x".repeat(100_000).into());
    }
    assert_eq!(within(spawn(&command).await.wait()).await.status, Status::Code(0));
}

#[tokio::test]
async fn programs_that_are_no_supervisor_are_noticed() {
    let command = |limit| {
        let mut command = helper(&["exit", "0"]);
        command.limits.start = limit;
        command
    };
    let with = |path: &str| Supervisor::Program(path.into());
    let patient = command(Duration::from_secs(10));
    let error = within(patient.spawn(&with("/bin/true"))).await.unwrap_err();
    assert!(matches!(error, SpawnError::SupervisorLost), "{error:?}");
    let error = within(patient.spawn(&with("/nowhere/at/all"))).await.unwrap_err();
    assert!(matches!(error, SpawnError::Supervisor { .. }), "{error:?}");
    // Neither of these ends by itself.
    let folder = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Supervisor::Program(path)
    };
    let closing = script("closing", "#!/bin/sh\nexec sleep 1000 <&-\n");
    let error = within(patient.spawn(&closing)).await.unwrap_err();
    assert!(matches!(error, SpawnError::SupervisorLost), "{error:?}");
    let silent = script("silent", "#!/bin/sh\nexec sleep 1000\n");
    let hasty = command(Duration::from_millis(100));
    let error = within(hasty.spawn(&silent)).await.unwrap_err();
    assert!(matches!(error, SpawnError::TimedOut { .. }), "{error:?}");
    // This test program's main is not ours to change.
    let error = within(patient.spawn(&Supervisor::SelfExe)).await.unwrap_err();
    assert!(matches!(error, SpawnError::NotASupervisor), "{error:?}");
}

#[test]
fn a_supervisors_name_alone_makes_no_supervisor() {
    use std::os::unix::process::CommandExt;
    let tag = fresh_tag();
    let mut command = std::process::Command::new(crate::common::HELPER);
    command.arg0("boocoder-supervisor").arg(tag.as_str()).stdin(std::process::Stdio::null());
    // It goes on as the ordinary program, which knows no such mode.
    assert_eq!(command.status().unwrap().code(), Some(99));
}

#[tokio::test]
async fn the_supervisor_cannot_be_read_by_the_agent_and_is_small() {
    let child = spawn(&helper(&["deaf"])).await;
    let pid = supervisor_of(&child).as_raw_pid();
    let maps = fs::metadata(format!("/proc/{pid}/environ")).unwrap();
    // A process that may not be dumped belongs to root in /proc (proc(5)).
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&maps), 0);
    assert_eq!(status_field(pid, "Threads"), "1");
    let rss: u64 = status_field(pid, "VmRSS").trim_end_matches(" kB").parse().unwrap();
    assert!(rss <= 6 * 1024, "{rss} kB");
    match fs::read_dir(format!("/proc/{pid}/fd")) {
        // Three standard streams, the socket, and soon the signals.
        Ok(open) => assert!(open.count() <= 5),
        // Nor may its user look, who is not root.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
}

#[tokio::test]
async fn exit_codes_and_signals_are_told() {
    for code in [0, 1, 99, 255] {
        let mut child = spawn(&helper(&["exit", &code.to_string()])).await;
        assert_eq!(within(child.wait()).await.status, Status::Code(code));
    }
    for number in [6, 9, 11, 15] {
        let mut child = spawn(&helper(&["die", &number.to_string()])).await;
        assert_eq!(within(child.wait()).await.status, Status::Signal(number));
    }
}
