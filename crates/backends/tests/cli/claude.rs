//! A small program that speaks Claude Code's control protocol, well and badly, and turns with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backends::claude_sdk::{ClaudeSdk, ClaudeSettings};
use backends::pool::{Keeper, Pool, PoolSettings};
use backends::registry::{Registry, UserAgent};
use dispatch_core::agent::EndedHow;
use dispatch_core::ports::SessionSpec;
use dispatch_core::task::Name;
use tempfile::TempDir;

use crate::common::{launcher, program, spec};
use crate::support::turn::{Turn, assert_nothing_left};
use crate::support::waiting::within;
use crate::until::until;

/// It says what it was told, and what it costs adds up.
const CLAUDE: &str = r#"
echo "$$ $*" >> starts
for arg in "$@"; do case "$arg" in
    --session-id=*) id=${arg#*=};;
    --resume=lost) echo "No conversation found with session ID: lost" >&2; exit 1;;
    --resume=crowd)
        for one in $(seq 300); do setsid sleep 600 <&- >&- 2>&- & done
        echo "No conversation found with session ID: crowd" >&2; exec >&- 2>&-; sleep 600;;
    --resume=*) id=${arg#*=};;
esac; done
turn=0; model=own; mode=own; owes=no; works=no
say() { printf '%s\n' "$1"; }
init() { say '{"type":"system","subtype":"init","session_id":"'$id'","model":"full-'$model'","permissionMode":"'$mode'","slash_commands":["x"]}'; }
text() { say '{"type":"assistant","message":{"content":[{"type":"text","text":"'"$1"'"}]}}'; }
answer() { rest=${line#*\"request_id\":\"}; say '{"type":"control_response","response":{"subtype":"success","request_id":"'"${rest%%\"*}"'","response":'"$1"'}}'; }
result() { say '{"type":"result","subtype":"success","is_error":'"$1"',"terminal_reason":"'"$2"'","result":"r","total_cost_usd":'$turn'.5,"usage":{"input_tokens":3,"output_tokens":4},"modelUsage":{"m":{"contextWindow":1000}}}'; }
request() { say '{"type":"control_request","request_id":"'$1'","request":{"subtype":"can_use_tool","tool_name":"Write","input":{"file_path":"a","content":"b"},"tool_use_id":"t1"}}'; }
while IFS= read -r line; do case "$line" in
    *'"type":"control_response"'*) printf '%s\n' "$line" >> answers;;
    *'"subtype":"initialize"'*) answer '{"commands":[{"name":"review","description":"d","argumentHint":"<x>"}],"models":[{"value":"default","displayName":"D","description":"","supportedEffortLevels":["low"]},{"value":"opus","displayName":"Opus","description":""}]}';;
    *'"subtype":"set_model"'*) model=${line#*\"model\":}; model=$(printf %s "${model%%,*}" | tr -d '"}'); answer '{}';;
    *'"subtype":"set_permission_mode"'*) mode=${line#*\"mode\":\"}; mode=${mode%%\"*}; answer '{}';;
    *'"subtype":"interrupt"'*) answer '{}'; [ $works = no ] || result true aborted_streaming; works=no;;
    *'"type":"user"'*)
        turn=$((turn + 1))
        [ $works = no ] || sleep 600
        if [ $owes = yes ]; then
            text own
            say '{"type":"control_request","request_id":"own","request":{"subtype":"can_use_tool","tool_name":"Write","input":{}}}'
            result false completed
            owes=no
        fi
        case "$line" in *moves*) id=elsewhere;; esac
        init
        case "$line" in
            *settings*) text "$model $mode"; result false completed;;
            *ask*)
                say '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t1","name":"Write","input":{"file_path":"a","content":"b"}}]}}'
                request 7
                IFS= read -r line
                case "$line" in *'"behavior":"allow"'*'"updatedInput":{'*) failed=false;; *) failed=true;; esac
                say '{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1","is_error":'$failed',"content":"c"}]}}'
                result false completed;;
            *hang*)
                text waiting
                while IFS= read -r line; do case "$line" in *'"subtype":"interrupt"'*) break;; esac; done
                answer '{}'; result true aborted_streaming;;
            *strays*)
                text well; result false completed
                (while [ ! -e go ]; do sleep 0.01; done; init; text stale; result false completed; : > said) &;;
            *owes*) text well; result false completed; owes=yes;;
            *races*)
                text own; say '{"type":"result","subtype":"success","is_error":false,"origin":{"kind":"task-notification"},"total_cost_usd":0.5}'
                init; text mine; result false completed;;
            *works*) text well; result false completed; works=yes; init; : > said;;
            *drifts*)
                mode=plan; model=haiku
                say '{"type":"system","subtype":"status","status":null,"permissionMode":"plan"}'
                text well; result false completed;;
            *closes*) text well; result false completed; exec >&- 2>&-; : > closed; sleep 600;;
            *withdraws*) request 7; say '{"type":"control_cancel_request","request_id":"7"}'; text well; result false completed;;
            *leaves*) request 7; text well; result false completed;;
            *pesters*) text well; result false completed; yes '{"type":"control_request","request_id":"8","request":{"subtype":"x"}}';;
            *harasses*) yes '{"type":"control_request","request_id":"8","request":{"subtype":"x"}}';;
            *begs*) yes '{"type":"control_request","request_id":"8","request":{"subtype":"can_use_tool","tool_name":"Write","input":{"content":"'"$(head -c 100000 /dev/zero | tr '\0' x)"'"}}}';;
            *raves*) tr '\0' x < /dev/zero;;
            *babbles*) yes '{"type":"keep_alive","x":"'"$(head -c 10000 /dev/zero | tr '\0' x)"'"}';;
            *chatters*) yes '{"type":"assistant","message":{"content":[{"type":"text","text":"'"$(head -c 10000 /dev/zero | tr '\0' x)"'"}]}}';;
            *hushes*) text well; exec >&- 2>&-; sleep 600;;
            *expired*) say '{"type":"result","subtype":"success","is_error":true,"api_error_status":401,"result":"log in","total_cost_usd":1}';;
            *leaks*)
                say '{"type":"assistant","session_id":"foreign","message":{"content":[{"type":"text","text":"leak"}]}}'
                text well; result false completed;;
            *deaf*) text deaf; trap '' TERM; while :; do sleep 1; done;;
            *die*) exit 9;;
            *) text "turn $turn"; result false completed;;
        esac;;
esac; done
"#;

pub struct Fixture {
    pub worktree: TempDir,
    programs: TempDir,
    pub backend: ClaudeSdk,
    pub pool: Arc<Pool>,
    pub spec: SessionSpec,
}

impl Fixture {
    pub fn new() -> Self {
        let (worktree, programs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = program(programs.path(), CLAUDE).to_str().unwrap().to_owned();
        let user = UserAgent { program: Some(path), ..UserAgent::default() };
        let registry = Registry::new([(Name::new("claude").unwrap(), user)]).unwrap();
        let pool = Pool::new(PoolSettings::default());
        let settings = ClaudeSettings { grace: Duration::from_secs(1), ..ClaudeSettings::new(launcher()) };
        let backend = ClaudeSdk::new(Arc::new(registry), settings, Arc::clone(&pool));
        let spec = spec(worktree.path(), "claude");
        Self { worktree, programs, backend, pool, spec }
    }

    pub async fn open(&self) -> Turn {
        Turn::open(&self.backend, self.spec.clone()).await.unwrap()
    }

    pub async fn prompt(&self, prompt: &str) -> Turn {
        Turn::begin(&self.backend, self.spec.clone(), prompt).await
    }

    /// A turn that ends well; its text, and what it cost.
    pub async fn run(&mut self, prompt: &str) -> (String, f64) {
        let turn = self.prompt(prompt).await;
        self.spec.resume.clone_from(&turn.info.agent_session);
        let (said, end) = turn.finish().await;
        assert_eq!(end.how, EndedHow::Completed);
        (said.text(), end.usage.cost.unwrap().amount)
    }

    /// Waits until it has made this file.
    pub async fn until_there(&self, file: &str) {
        until(|| self.worktree.path().join(file).exists()).await;
    }

    /// Waits until so many are kept: what goes by itself tells nobody.
    pub async fn until_kept(&self, count: usize) {
        until(|| self.pool.warm().len() == count).await;
    }

    /// One line for each process that was started.
    pub fn starts(&self) -> Vec<String> {
        let starts = std::fs::read_to_string(Path::new(self.worktree.path()).join("starts")).unwrap();
        starts.lines().map(str::to_owned).collect()
    }

    /// Puts a new file in the program's place, as installers do it.
    pub fn replace_program(&self) {
        let folder = self.programs.path();
        let old = folder.join("old");
        std::fs::rename(folder.join("program"), old).unwrap();
        program(folder, CLAUDE);
    }

    pub async fn shut_down(self) {
        within(self.pool.shut_down()).await;
        assert_nothing_left(&self.spec.run_tag);
    }
}
