//! The scripted model server, asked by hand.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing, in its helpers too")]

use boocoder_tests::model_server::{
    Answer, Call, Ending, ModelError, ModelServer, Moment, NO_SUCH_MODEL, Reply, Script,
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// Sends a request and leaves the answer to be read.
fn ask(server: &ModelServer, body: &Value) -> TcpStream {
    post(server, "/v1/chat/completions", body)
}

fn post(server: &ModelServer, path: &str, body: &Value) -> TcpStream {
    let body = body.to_string();
    let mut stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
    let head = format!(
        "POST {path} HTTP/1.0\r\ncontent-type: application/json\r\nauthorization: Bearer k\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).unwrap();
    stream
}

/// The whole response, head and body, as far as it came.
fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

/// The answer's chunks, without `[DONE]`.
fn chunks(response: &str) -> Vec<Value> {
    let data = response.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn tools() -> Value {
    let schema =
        json!({"type": "object", "properties": {"path": {}, "content": {}}, "required": ["path", "content"]});
    json!([{"type": "function", "function": {"name": "write", "parameters": schema}}])
}

fn body(messages: Value) -> Value {
    json!({"model": "mock-1", "stream": true, "messages": messages, "tools": tools()})
}

fn prompt(text: &str) -> Value {
    body(
        json!([{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": text}]}]),
    )
}

#[test]
fn deltas_reasoning_and_usage_are_streamed() {
    let server = ModelServer::start();
    server.when(
        "go",
        Script::new().then(Reply::new().reasoning(["hm ", "hm"]).and_text(["a", "b", "c"]).usage(7, 3)),
    );
    let response = rest(ask(&server, &prompt("go")));
    assert!(response.starts_with("HTTP/1.0 200 OK\r\n"), "{response}");
    let chunks = chunks(&response);
    let of = |key: &str| -> String {
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"][key].as_str()).collect()
    };
    assert_eq!((of("reasoning_content").as_str(), of("content").as_str()), ("hm hm", "abc"));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[chunks.len() - 1]["usage"]["total_tokens"], 10);
    assert!(response.ends_with("data: [DONE]\n\n"));
    let request = server.wait_for(Moment::Ended, "go");
    assert_eq!(request.credentials.as_deref(), Some("Bearer k"));
}

#[test]
fn a_model_that_is_not_there_and_a_call_that_no_tool_can_do() {
    let server = ModelServer::start();
    let mut asked = prompt("go");
    asked["model"] = json!(format!("mock/{NO_SUCH_MODEL}"));
    assert!(rest(ask(&server, &asked)).starts_with("HTTP/1.0 404 "));
    let shell = || Reply::new().call(Call::shell("ls"));
    server.when("strict", Script::new().then(shell()));
    server.when("lenient", Script::new().then(shell().or_say("I cannot.")));
    assert!(rest(ask(&server, &prompt("strict"))).starts_with("HTTP/1.0 400 "));
    assert!(rest(ask(&server, &prompt("lenient"))).contains("I cannot."));
}

#[test]
fn the_models_are_listed() {
    let server = ModelServer::start();
    let mut stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"GET /v1/models HTTP/1.0\r\n\r\n").unwrap();
    let response = rest(stream);
    let list: Value = serde_json::from_str(response.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&list["data"][0]["id"], &list["data"][1]["id"]), (&json!("mock-1"), &json!("mock-2")));
}

#[test]
fn a_script_goes_on_after_the_tool_s_result_and_side_requests_take_nothing_of_it() {
    let server = ModelServer::start();
    let script =
        Script::new().then(Reply::new().call(Call::write("a.txt", "hällo"))).then(Reply::text("Done."));
    server.when("make it", script);
    let mut side = prompt("title for: make it");
    side.as_object_mut().unwrap().remove("tools");
    assert!(rest(ask(&server, &side)).contains("Scripted title"));

    let chunks = chunks(&rest(ask(&server, &prompt("make it"))));
    let calls: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]).collect();
    let arguments: String = calls.iter().filter_map(|call| call["function"]["arguments"].as_str()).collect();
    assert_eq!(
        serde_json::from_str::<Value>(&arguments).unwrap(),
        json!({"path": "a.txt", "content": "hällo"})
    );
    assert!(calls.iter().any(|call| call["function"]["name"] == "write" && call["id"].is_string()));
    assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], "tool_calls");

    let mut next = body(json!([
        {"role": "user", "content": "make it"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {"name": "write", "arguments": arguments}}]},
        {"role": "tool", "tool_call_id": "c", "content": "written"},
    ]));
    next["stream"] = json!(false);
    let response = rest(ask(&server, &next));
    let answer: Value = serde_json::from_str(response.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "Done.");
    let requests = server.requests();
    assert_eq!(requests.iter().filter(|request| request.is_side_request()).count(), 1);
    assert_eq!(requests[2].messages[1].calls[0].arguments["path"], "a.txt");
    assert_eq!(requests[2].tool_results().collect::<Vec<_>>(), ["written"]);
}

#[test]
fn errors_are_as_a_real_server_sends_them_and_a_retry_gets_the_answer() {
    let server = ModelServer::start();
    let failures = [
        Answer::Error(ModelError::Unauthorised),
        Answer::Error(ModelError::Overloaded { retry_after: 7 }),
        Answer::Error(ModelError::Internal),
        Answer::Error(ModelError::ContextTooLong),
        Answer::Error(ModelError::NoSuchModel),
    ];
    server.when("go", Script::new().then_after(failures, Reply::text("at last")));
    let expected = [
        ("401 ", "invalid_api_key"),
        ("429 ", "retry-after: 7"),
        ("500 ", "internal_error"),
        ("400 ", "context_length"),
        ("404 ", "model_not_found"),
    ];
    for (status, detail) in expected {
        let response = rest(ask(&server, &prompt("go")));
        assert!(
            response.starts_with(&format!("HTTP/1.0 {status}")) && response.contains(detail),
            "{response}"
        );
    }
    assert!(rest(ask(&server, &prompt("go"))).contains("at last"));
}

#[test]
fn endings_other_than_the_normal_one() {
    let server = ModelServer::start();
    for (words, ending) in [("long", Ending::Length), ("bad", Ending::Refusal), ("cut", Ending::Cut)] {
        server.when(words, Script::new().then(Reply::text("half").ending(ending)));
    }
    server.when("nothing", Script::new().then(Reply::new()));
    for (words, reason) in [("long", "length"), ("bad", "content_filter"), ("nothing", "stop")] {
        let chunks = chunks(&rest(ask(&server, &prompt(words))));
        assert_eq!(chunks[chunks.len() - 2]["choices"][0]["finish_reason"], reason);
    }
    let cut = rest(ask(&server, &prompt("cut")));
    assert!(cut.contains("half") && !cut.contains("[DONE]") && !cut.contains("\"stop\""), "{cut}");
}

#[test]
fn a_stalled_answer_ends_when_released_or_given_up() {
    let server = ModelServer::start();
    server.when("stall", Script::new().then(Reply::text("half").ending(Ending::Stall)));
    server.when("silent", Script::new().then(Answer::Silence));
    let given_up = ask(&server, &prompt("stall one"));
    let silent = ask(&server, &prompt("silent one"));
    server.wait_for(Moment::Streamed, "stall one");
    server.wait_for(Moment::Asked, "silent one");
    drop(given_up);
    drop(silent);
    server.wait_for(Moment::HungUp, "stall one");
    server.wait_for(Moment::HungUp, "silent one");

    let kept = ask(&server, &prompt("stall two"));
    let silent = ask(&server, &prompt("silent two"));
    server.wait_for(Moment::Streamed, "stall two");
    server.wait_for(Moment::Asked, "silent two");
    server.release();
    assert!(rest(kept).ends_with("data: [DONE]\n\n"));
    assert!(rest(silent).ends_with("data: [DONE]\n\n"));
}

#[test]
fn an_answer_that_comes_back_in_two_messages_counts_once() {
    let server = ModelServer::start();
    server.when("go", Script::new().then(Reply::text("one")).then(Reply::text("two")));
    let goose = body(json!([
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "<info-msg>\nIt is currently late\n</info-msg>"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {"name": "write", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "written"},
    ]));
    assert!(rest(ask(&server, &goose)).contains("\"two\""));
}

#[test]
fn the_latest_prompt_chooses_the_script() {
    let server = ModelServer::start();
    server.when("first", Script::new().then(Reply::text("one")));
    server.when("second", Script::new().then(Reply::text("two")));
    let both = body(json!([
        {"role": "user", "content": "first"}, {"role": "assistant", "content": "one"}, {"role": "user", "content": "second"},
    ]));
    assert!(rest(ask(&server, &both)).contains("\"two\""));
    let unknown = body(json!([
        {"role": "user", "content": "first"}, {"role": "assistant", "content": "one"}, {"role": "user", "content": "third"},
    ]));
    assert!(rest(ask(&server, &unknown)).contains("word3 "));
}

/// One format as an agent writes and reads it.
struct Format {
    path: &'static str,
    /// A request that streams, offers the tool `write` and holds this conversation.
    body: fn(Vec<Value>) -> Value,
    /// The user's words in a conversation.
    said: fn(&str) -> Value,
    /// What follows in a conversation once the tool was called.
    called: fn() -> Vec<Value>,
    /// What must be in an answer with reasoning, text and a call: deltas, the call, the figures, the end.
    answer: &'static [&'static str],
    /// What stands for an end at the output limit, and for one by the content filter.
    endings: [&'static str; 2],
    /// What is in the answer to a key that is refused, to a prompt that is too long, and where there is no such model.
    errors: [&'static str; 3],
}

fn schema() -> Value {
    json!({"type": "object", "properties": {"path": {}, "content": {}}, "required": ["path", "content"]})
}

const FORMATS: [Format; 3] = [
    Format {
        path: "/v1/responses",
        body: |input| {
            let tool = json!({"type": "function", "name": "write", "parameters": schema()});
            json!({"model": "m", "stream": true, "input": input, "tools": [tool, {"type": "web_search"}]})
        },
        said: |text| {
            let content = json!([{"type": "input_text", "text": text}]);
            json!({"type": "message", "role": "user", "content": content})
        },
        called: || {
            vec![
                json!({"type": "reasoning", "summary": []}),
                json!({"type": "function_call", "call_id": "c", "name": "write", "arguments": "{\"path\":\"a\"}"}),
                json!({"type": "function_call_output", "call_id": "c", "output": "written"}),
            ]
        },
        answer: &[
            r#""type":"response.reasoning_summary_text.delta""#,
            r#""delta":"b""#,
            r#""type":"function_call""#,
            r#""name":"write""#,
            r#""input_tokens":7"#,
            r#""type":"response.completed""#,
        ],
        endings: [r#""reason":"max_output_tokens""#, r#""reason":"content_filter""#],
        errors: ["invalid_api_key", "context_length_exceeded", "model_not_found"],
    },
    Format {
        path: "/v1/messages?beta=true",
        body: |messages| {
            let tool = json!({"name": "write", "input_schema": schema()});
            json!({"model": "m", "stream": true, "messages": messages, "tools": [tool]})
        },
        said: |text| {
            let reminder =
                json!({"type": "text", "text": "<system-reminder>\nbe good\n</system-reminder>\n"});
            json!({"role": "user", "content": [reminder, {"type": "text", "text": text}]})
        },
        called: || {
            let call = json!({"type": "tool_use", "id": "c", "name": "write", "input": {"path": "a"}});
            let result = json!({"type": "tool_result", "tool_use_id": "c", "content": "written"});
            vec![
                json!({"role": "assistant", "content": [call]}),
                json!({"role": "user", "content": [result]}),
                json!({"role": "system", "content": "be good"}),
            ]
        },
        answer: &[
            r#""thinking":"hm""#,
            r#""type":"thinking_delta""#,
            r#""text":"b""#,
            r#""name":"write""#,
            r#""type":"input_json_delta""#,
            r#""input_tokens":7"#,
            r#""stop_reason":"tool_use""#,
            "event: message_stop",
        ],
        endings: [r#""stop_reason":"max_tokens""#, r#""stop_reason":"refusal""#],
        errors: ["authentication_error", "prompt is too long", "not_found_error"],
    },
    Format {
        path: "/v1beta/models/m:streamGenerateContent?alt=sse",
        body: |contents| {
            let tool = json!({"name": "write", "parametersJsonSchema": schema()});
            json!({"contents": contents, "tools": [{"functionDeclarations": [tool]}]})
        },
        said: |text| {
            let context = json!({"text": "<session_context>\nlinux\n</session_context>"});
            json!({"role": "user", "parts": [context, {"text": text}]})
        },
        called: || {
            let call = json!({"functionCall": {"name": "write", "args": {"path": "a"}}});
            let result = json!({"functionResponse": {"name": "write", "response": {"output": "written"}}});
            vec![json!({"role": "model", "parts": [call]}), json!({"role": "user", "parts": [result]})]
        },
        answer: &[
            r#""thought":true"#,
            r#"{"text":"b"}"#,
            r#""functionCall":{"#,
            r#""promptTokenCount":7"#,
            r#""finishReason":"STOP""#,
        ],
        endings: [r#""finishReason":"MAX_TOKENS""#, r#""finishReason":"SAFETY""#],
        errors: ["UNAUTHENTICATED", "exceeds the maximum number of tokens", "NOT_FOUND"],
    },
];

#[test]
fn every_format_tells_the_same_script() {
    for format in FORMATS {
        let server = ModelServer::start();
        let ask = |conversation| rest(post(&server, format.path, &(format.body)(conversation)));
        let first =
            Reply::new().reasoning(["hm"]).and_text(["a", "b"]).call(Call::write("a", "x")).usage(7, 3);
        server.when("make it", Script::new().then(first).then(Reply::text("Done.")));
        let answer = ask(vec![(format.said)("make it")]);
        for expected in format.answer {
            assert!(answer.contains(expected), "{expected} is not in {answer}");
        }
        let conversation = [vec![(format.said)("make it")], (format.called)()].concat();
        let answer = ask(conversation);
        assert!(answer.contains("Done."), "{answer}");
        let request = server.requests().pop().unwrap();
        assert_eq!(request.tool_results().collect::<Vec<_>>(), ["written"], "{request:?}");
        let calls: Vec<_> = request.messages.iter().flat_map(|message| &message.calls).collect();
        assert_eq!((calls.len(), &calls[0].arguments), (1, &json!({"path": "a"})));
        assert!(request.stream && request.model == "m");
    }
}

#[test]
fn every_format_has_its_own_ends_and_errors() {
    for format in FORMATS {
        let server = ModelServer::start();
        let ask = |words| rest(post(&server, format.path, &(format.body)(vec![(format.said)(words)])));
        let endings = [("long", Ending::Length), ("bad", Ending::Refusal)];
        for ((words, ending), expected) in endings.into_iter().zip(format.endings) {
            server.when(words, Script::new().then(Reply::text("half").ending(ending)));
            let answer = ask(words);
            assert!(answer.contains("half") && answer.contains(expected), "{expected} is not in {answer}");
        }
        let errors = [
            ("key", ModelError::Unauthorised, "401"),
            ("more", ModelError::ContextTooLong, "400"),
            ("gone", ModelError::NoSuchModel, "404"),
        ];
        for ((words, error, status), expected) in errors.into_iter().zip(format.errors) {
            server.when(words, Script::new().then(error));
            let answer = ask(words);
            assert!(answer.starts_with(&format!("HTTP/1.0 {status} ")), "{answer}");
            assert!(answer.contains(expected), "{expected} is not in {answer}");
        }
    }
}

#[test]
fn what_an_agent_asks_for_itself_is_answered_in_the_form_it_wants() {
    let server = ModelServer::start();
    let form = json!({"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a title, please"}],
                      "output_config": {"format": {"type": "json_schema", "schema": form}}});
    let answer = rest(post(&server, "/v1/messages", &body));
    assert!(answer.contains(r#""text":"{\"title\":\"scripted\"}""#), "{answer}");

    let tool = json!({"name": "respond_in_schema", "parameters": form});
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "is this safe?"}],
                      "tools": [{"type": "function", "function": tool}]});
    let answer = rest(ask(&server, &body));
    assert!(answer.contains(r#""arguments":"{\"title\":\"scripted\"}""#), "{answer}");
    assert!(server.requests().iter().all(boocoder_tests::model_server::ModelRequest::is_side_request));

    let count = rest(post(&server, "/v1/messages/count_tokens", &body));
    assert!(count.contains(r#"{"input_tokens":"#), "{count}");
    let count = rest(post(&server, "/v1beta/models/m:countTokens", &body));
    assert!(count.contains(r#"{"totalTokens":"#), "{count}");
    assert_eq!(server.requests().len(), 2);
}
