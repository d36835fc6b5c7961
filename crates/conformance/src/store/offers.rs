//! What agents were last known to offer.

use dispatch_core::{
    agent::{AgentCommand, AgentOffer, AgentSettings, Choice, Setting},
    frame::FrameBody,
    ports::ChangeVerdict,
    task::{Name, NewTask, TurnOptions},
};

use super::{
    kit::{Kit, Running},
    subject::StoreSubject,
};

fn commands(names: &[&str]) -> Vec<AgentCommand> {
    let command = |name: &&str| AgentCommand { name: (*name).into(), description: "d\0".into(), hint: None };
    names.iter().map(command).collect()
}

fn models(ids: &[&str]) -> AgentSettings {
    let choice = |id: &&str| Choice { id: (*id).into(), name: "n".into(), description: "".into() };
    let choices = ids.iter().map(choice).collect();
    AgentSettings { model: Setting { current: None, choices }, ..AgentSettings::default() }
}

async fn tell(kit: &Kit, turn: &Running, frames: &[FrameBody]) {
    kit.append_all(turn, Some(turn.message), frames).await;
}

async fn offer(kit: &Kit, agent: &str) -> AgentOffer {
    kit.view.store.agent_offer(&Name::new(agent).unwrap()).await.unwrap()
}

/// Commands and settings are known, to every process, as any turn with the agent last told them.
pub async fn an_agents_offer_is_its_last_word(subject: &dyn StoreSubject) {
    let (kit, other) = (Kit::new(subject).await, Kit::new(subject).await);
    assert_eq!(offer(&kit, "goose").await, AgentOffer::default());
    let (one, two) = (kit.running().await, other.running().await);
    tell(&kit, &one, &[FrameBody::AgentCommands { commands: commands(&["a", "b"]) }]).await;
    let mut wanted = AgentOffer { commands: commands(&["a", "b"]), ..AgentOffer::default() };
    assert_eq!(offer(&other, "goose").await, wanted);

    tell(&other, &two, &[FrameBody::AgentSettings { settings: models(&["m"]) }]).await;
    wanted.settings = models(&["m"]);
    assert_eq!(offer(&kit, "goose").await, wanted, "the commands stay");
    let again = [
        FrameBody::AgentCommands { commands: commands(&["a", "b"]) },
        FrameBody::delta("text"),
        FrameBody::AgentSettings { settings: models(&["x"]) },
        FrameBody::AgentSettings { settings: models(&["m"]) },
    ];
    tell(&kit, &one, &again).await;
    assert_eq!(offer(&kit, "goose").await, wanted, "the last word counts");

    tell(&kit, &one, &[FrameBody::AgentCommands { commands: commands(&["c"]) }]).await;
    wanted.commands = commands(&["c"]);
    assert_eq!(offer(&kit, "goose").await, wanted);
    kit.complete(&one, ChangeVerdict::Leave).await;
    let late = [FrameBody::AgentCommands { commands: commands(&["late"]) }];
    assert_eq!(kit.view.store.append(&one.key, one.batch(), None, &late).await.unwrap(), None);
    assert_eq!(offer(&kit, "goose").await, wanted);
}

/// Each agent has its own; native inference has none.
pub async fn an_offer_is_its_agents_own(subject: &dyn StoreSubject) {
    let kit = Kit::new(subject).await;
    for agent in [Some("goose"), Some("qwen"), None] {
        let options = TurnOptions { agent: agent.and_then(Name::new), ..TurnOptions::default() };
        let task = kit.view.records.create_task(NewTask { options, ..kit.new_task() }).await.unwrap();
        let turn = kit.begin(task.id).await;
        let named = commands(&[agent.unwrap_or("of native")]);
        tell(&kit, &turn, &[FrameBody::AgentCommands { commands: named }]).await;
    }
    for agent in ["goose", "qwen"] {
        assert_eq!(offer(&kit, agent).await.commands, commands(&[agent]));
    }
    assert_eq!(offer(&kit, "native").await, AgentOffer::default());
}
