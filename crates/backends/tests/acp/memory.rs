//! What an agent makes its dispatcher hold in memory.

use dispatch_core::agent::{EndedHow, NoticeCode};

use crate::common::Fixture;
use crate::peak::{assert_little_since, peak};

#[tokio::test]
async fn long_lines_cost_no_memory() {
    for fixture in Fixture::each(&[]) {
        fixture.run("/say warm").await;
        let before = peak();
        // No line end and no message in 120 MB, of which up to the limit of a line is kept.
        let (_, end) = fixture.run("/long-line 120000000\n/say through").await;
        assert_eq!(end.how, EndedHow::Completed);
        assert_little_since(before);
        fixture.over().await;
    }
}

#[tokio::test]
async fn lines_of_tiny_values_cost_no_memory() {
    let tiny = r#"
/tiny 16000000 rawInput {"a":1}
/tiny 16000000 rawOutput []
/tiny 16000000 locations {"path":""}
/tiny 16000000 content {"type":"terminal","terminalId":""}
/say through"#;
    for fixture in Fixture::each(&[]) {
        fixture.run("/say warm").await;
        let before = peak();
        let (said, end) = fixture.run(tiny.trim_start()).await;
        assert_eq!((said.text().as_str(), end.how), ("through", EndedHow::Completed));
        assert!(said.notice(NoticeCode::AgentOddity).is_some());
        assert_little_since(before);
        fixture.over().await;
    }
}

#[tokio::test]
async fn what_is_said_between_turns_costs_no_memory() {
    let fixture = Fixture::warm(&[]);
    fixture.run("/say warm").await;
    let before = peak();
    for what in ["/flood 60", "/long-line 2000000000"] {
        fixture.run(&format!("/say done\n/answer-now\n{what}")).await;
        fixture.until_kept(0).await;
    }
    assert_little_since(before);
    fixture.over().await;
}
