//! A tool that tells of its use: one event of each type. Run it with `cargo run -p emit --example tool`.

use std::borrow::Cow;
use std::time::Duration;

use common::demo::{tool_id, user_id};
use common::event::{Action, Activity, Data, Event, HealthCheck, Performance, Timestamp, ToolUsage, Usage};
use common::settings::Settings;
use emit::{Emitter, EmitterOptions, ids};

fn main() -> anyhow::Result<()> {
    let settings = Settings::load(None)?;
    let options = EmitterOptions::from(&settings).on_undelivered(|event| eprintln!("lost: {}", event.error));
    let emitter = Emitter::connect(options)?;
    let (user, tool, session) = (Some(user_id(7)), tool_id(0), common::demo::id("example-session", 0));

    let start_time = Timestamp::now();
    let output = serde_json::to_string_pretty(&serde_json::json!({ "what": "the tool does" }))?;
    let end_time = Timestamp::now();
    let duration = end_time.millis() - start_time.millis();

    let data = [
        Data::Activity(Box::new(Activity {
            user_id: user,
            session_id: Some(session),
            action: Action::PageView,
            path: Some("/tools/json-formatter".into()),
            context: None,
        })),
        Data::ToolUsage(Box::new(ToolUsage {
            user_id: user,
            tool_id: tool,
            session_id: session,
            usage: Usage {
                start_time,
                end_time,
                duration,
                input_size: 24,
                output_size: output.len() as i64,
                success: true,
                error_message: None,
            },
            context: None,
            performance: Some(Performance { response_time: Some(duration as f64), ..Performance::default() }),
            metadata: None,
        })),
        Data::HealthCheck(HealthCheck { tool_id: tool, healthy: true, response_time: Some(1.5), message: None }),
    ];
    for data in data {
        let event = Event {
            id: Cow::Owned(ids::unique()),
            source: "/tools/json-formatter".into(),
            time: Timestamp::now(),
            // Of the current span, where the tool has OpenTelemetry: then ingest's log names the trace.
            traceparent: None,
            data,
        };
        // A refusal is a mistake in the event, or a full queue: the tool says so and goes on.
        if let Err(refused) = emitter.emit(&event) {
            eprintln!("not sent: {refused}");
        }
    }
    let undelivered = emitter.flush(Duration::from_secs(10));
    println!("{:?}, {undelivered} not delivered", emitter.counts());
    Ok(())
}
