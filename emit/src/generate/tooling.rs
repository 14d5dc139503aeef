//! The tools: which are popular, how long they take, how they fail, what they say about a use.

use std::f64::consts::TAU;

use common::demo::{self, DemoTool};
use common::event::{HealthCheck, Metadata, Performance, Timestamp, Usage};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::DAY_MS;
use super::curve::Curve;
use super::popularity::Popularity;

/// How much more the popular tools are used than the rare ones.
const POPULAR_TOOLS: f64 = 1.1;
/// No use takes longer, in milliseconds.
const LONGEST_USE: f64 = 60_000.0;
const MINUTE_MS: i64 = 60 * 1_000;

const ERRORS: [&str; 6] = [
    "Unexpected token at line 1, column 17",
    "Input is not valid UTF-8",
    "Unterminated string literal",
    "Input exceeds the size limit of 5 MB",
    "Invalid character in Base64 input",
    "Timed out after 30 s",
];
const AI_ERRORS: [&str; 4] = [
    "API rate limit exceeded",
    "The model is overloaded, try again later",
    "The answer was cut off at the token limit",
    "Upstream returned HTTP 503",
];
const OUTAGE_ERROR: &str = "Service unavailable";
const VERSIONS: [&str; 4] = ["2.1.0", "2.0.3", "1.9.12", "3.0.0-beta.1"];
const COMPLEXITIES: [&str; 3] = ["low", "medium", "high"];
const LANGUAGES: [&str; 5] = ["javascript", "python", "rust", "go", "typescript"];

/// All tools.
#[derive(Debug)]
pub(super) struct Tooling {
    tools: Vec<DemoTool>,
    popular: Popularity,
    outages: Vec<Outage>,
}

/// A tool that does not work for a while: its checks fail, and most of its uses.
#[derive(Debug, Clone, Copy)]
struct Outage {
    tool: u32,
    start: i64,
    end: i64,
}

impl Tooling {
    pub(super) fn new(count: u32, curve: &Curve, chance: &mut ChaCha8Rng) -> Self {
        let count = count.max(1);
        // One outage a day, of 15 to 60 minutes.
        let outages = (curve.start()..curve.end()).step_by(DAY_MS as usize).map(|day| {
            let start = day + chance.random_range(0..DAY_MS);
            Outage { tool: chance.random_range(0..count), start, end: start + chance.random_range(15..=60) * MINUTE_MS }
        });
        Self {
            outages: outages.collect(),
            tools: (0..count).map(demo::tool).collect(),
            popular: Popularity::new(count, POPULAR_TOOLS),
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.tools.len() as u32
    }

    /// The number of a tool that somebody wants to use: the first ones more often.
    pub(super) fn wanted(&self, chance: &mut ChaCha8Rng) -> u32 {
        self.popular.draw(chance)
    }

    pub(super) fn tool(&self, number: u32) -> &DemoTool {
        &self.tools[number as usize % self.tools.len()]
    }

    fn is_out(&self, number: u32, at: i64) -> bool {
        self.outages.iter().any(|outage| outage.tool == number && (outage.start..outage.end).contains(&at))
    }

    /// Milliseconds that a use of the tool takes.
    fn duration(&self, chance: &mut ChaCha8Rng, number: u32) -> f64 {
        let usual = if self.tool(number).ai_powered { 1_600.0 } else { 40.0 + 15.0 * f64::from(number % 13) };
        (usual * log_normal(chance)).clamp(1.0, LONGEST_USE)
    }

    /// One use that starts at `start` and ends before `end`.
    pub(super) fn usage(
        &self,
        chance: &mut ChaCha8Rng,
        number: u32,
        start: i64,
        end: i64,
    ) -> (Usage<'static>, Option<Performance>) {
        let ai_powered = self.tool(number).ai_powered;
        let is_out = self.is_out(number, start);
        let failure_rate = match (is_out, ai_powered) {
            (true, _) => 0.7,
            (false, true) => 0.04,
            (false, false) => 0.012,
        };
        let success = !chance.random_bool(failure_rate);
        let errors: &[&str] = if ai_powered { &AI_ERRORS } else { &ERRORS };
        let error_message =
            (!success).then(|| if is_out { OUTAGE_ERROR } else { errors[chance.random_range(0..errors.len())] });
        let duration = self.duration(chance, number).min((end - 1 - start) as f64);
        let input_size = chance.random_range(20..6_000);
        let usage = Usage {
            start_time: Timestamp::from_millis(start),
            end_time: Timestamp::from_millis(start + duration as i64),
            duration: duration as i64,
            input_size,
            output_size: if success { input_size * chance.random_range(30..300) / 100 } else { 0 },
            success,
            error_message: error_message.map(Into::into),
        };
        let performance = chance.random_bool(0.97).then(|| Performance {
            response_time: Some(one_decimal(duration * chance.random_range(0.7..0.98))),
            memory_usage: Some(one_decimal(8.0 + chance.random_range(0.0..60.0))),
            cpu_usage: Some(one_decimal(chance.random_range(0.5..45.0))),
        });
        (usage, performance)
    }

    /// What the tool says about one use.
    pub(super) fn metadata(&self, chance: &mut ChaCha8Rng, number: u32) -> Metadata<'static> {
        let tool = self.tool(number);
        let complexity = COMPLEXITIES[chance.random_range(0..COMPLEXITIES.len())];
        let small = chance.random_range(1..9);
        let (features, custom_data) = match tool.category {
            "ai-powered" => {
                let language = LANGUAGES[chance.random_range(0..LANGUAGES.len())];
                let tokens = chance.random_range(80..3_000);
                (
                    vec!["ai_generation", "syntax_highlighting"],
                    format!(r#"{{"queryComplexity":"{complexity}","language":"{language}","tokens":{tokens}}}"#),
                )
            }
            "database" => {
                (vec!["syntax_highlighting"], format!(r#"{{"queryComplexity":"{complexity}","tableCount":{small}}}"#))
            }
            "formatters" => {
                (vec!["syntax_highlighting", "copy"], format!(r#"{{"indent":{small},"sorted":{}}}"#, small % 2 == 0))
            }
            "generators" => (vec!["bulk"], format!(r#"{{"count":{}}}"#, small * small)),
            _ => (vec!["copy"], format!(r#"{{"options":{{"level":{small}}}}}"#)),
        };
        // Most use the latest version.
        let version = VERSIONS[chance.random_range(0..VERSIONS.len()).min(chance.random_range(0..VERSIONS.len()))];
        Metadata {
            version: Some(version.into()),
            features: Some(features.into_iter().map(Into::into).collect()),
            custom_data: Some(custom_data.into()),
        }
    }

    pub(super) fn health_check(&self, chance: &mut ChaCha8Rng, number: u32, at: i64) -> HealthCheck<'static> {
        let healthy = !self.is_out(number, at) && !chance.random_bool(0.002);
        let response_time = one_decimal(self.duration(chance, number) / 4.0);
        HealthCheck {
            tool_id: self.tool(number).id,
            healthy,
            response_time: healthy.then_some(response_time),
            message: (!healthy).then(|| OUTAGE_ERROR.into()),
        }
    }
}

/// How much longer or shorter than usual something takes: as often half as long as twice as long, rarely much longer.
fn log_normal(chance: &mut ChaCha8Rng) -> f64 {
    const SPREAD: f64 = 0.6;
    // A normally distributed number out of two even ones, after Box and Muller.
    let radius = (-2.0 * (1.0 - chance.random::<f64>()).ln()).sqrt();
    (SPREAD * radius * (TAU * chance.random::<f64>()).cos()).exp()
}

fn one_decimal(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
