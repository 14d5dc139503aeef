//! `admin privacy status`.

use bson::doc;
use clap::Args;
use common::documents::privacy_request::PrivacyRequest;
use common::settings::Settings;
use common::{print_line, terminal};
use futures::TryStreamExt as _;

use super::receipt::{self, Receipt};
use crate::erasure::{Context, requests};
use crate::report;

/// Show all requests, or one with its receipt
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only this request: the receipt, with the days' numbers before and after
    #[arg(long, value_name = "ID")]
    request: Option<bson::oid::ObjectId>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let context = Context::connect(settings).await?;
    let collection = requests::collection(&context.database);
    if let Some(id) = options.request {
        let Some(request) = collection.find_one(doc! { "_id": id }).await? else {
            anyhow::bail!("there is no request {id}; `admin privacy status` lists them all");
        };
        return receipt::print(&context, &request, options.json).await;
    }
    let all: Vec<PrivacyRequest> =
        collection.find(doc! {}).sort(doc! { "completedAt": 1, "requestedAt": -1 }).await?.try_collect().await?;
    if options.json {
        let mut receipts = Vec::new();
        for request in &all {
            receipts.push(Receipt::of(&context, request).await?);
        }
        return terminal::print_json(&receipts);
    }
    if all.is_empty() {
        print_line!("nobody was erased yet");
        return Ok(());
    }
    let rows = all.iter().map(|request| {
        [
            request.id.to_hex(),
            request.mode.to_string(),
            request.state.to_string(),
            receipt::time(request.requested_at),
            request.completed_at.map(receipt::time).unwrap_or_default(),
            request.documents.values().sum::<i64>().to_string(),
        ]
    });
    let mut table = report::table(["request", "mode", "state", "asked for", "complete", "documents"], rows);
    report::align_right(&mut table, [5]);
    print_line!("{}", table.trim_fmt());
    Ok(())
}
