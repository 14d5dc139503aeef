//! From sums over a day's tools, users and sessions to its numbers: the last step, which every engine shares.

use std::cmp::Reverse;

use bson::oid::ObjectId;
use common::documents::rollup_day::Inputs;

use super::Tool;
use super::exact::{Mean, ratio};
use super::tools::Tools;
use super::visits::Visit;

const MINUTE: u128 = 60 * 1000;

/// Exact sums over a day, before anything is divided.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Documents counted.
    pub inputs: Inputs,
    /// Distinct users.
    pub active_users: u64,
    /// Distinct users of tools.
    pub tool_users: u64,
    /// Every used tool once that is counted for itself, with its uses, in any order.
    pub tools_by_use: Vec<(ObjectId, u64)>,
    /// Uses of the tools that are counted together.
    pub other_uses: u64,
    /// Failed tool uses.
    pub failures: u64,
    /// Response times, milliseconds.
    pub response_time: Mean,
    /// Health checks.
    pub checks: u64,
    /// Those that found the tool healthy.
    pub healthy_checks: u64,
    /// The largest number of users present at one instant.
    pub peak_users: u64,
    /// Page views.
    pub page_views: u64,
    /// Visits of tool use and activity together.
    pub visits: VisitSums,
    /// Visits of tool use alone.
    pub tool_visits: VisitSums,
}

/// Sums over visits.
#[derive(Clone, Copy, Debug, Default)]
pub struct VisitSums {
    /// Visits.
    pub count: u64,
    /// Their lengths, milliseconds.
    pub millis: u128,
    /// Those with a page view.
    pub with_page_view: u64,
    /// Those with exactly one page view and no tool use.
    pub bounces: u64,
}

/// What the events of a day say, without what other collections have to add.
#[derive(Clone, Debug, PartialEq)]
pub struct Totals {
    /// Documents counted.
    pub inputs: Inputs,
    /// Distinct users.
    pub active_users: u64,
    /// Distinct users of tools.
    pub tool_users: u64,
    /// Tool uses.
    pub tool_uses: u64,
    /// Every used tool that is counted for itself, with its uses, the most used first, equally used ones by rising id.
    pub tools_by_use: Vec<(ObjectId, u64)>,
    /// Mean length of the visits made of tool use alone, minutes.
    pub tool_visit_minutes: Option<f64>,
    /// Mean response time, milliseconds.
    pub response_time: Option<f64>,
    /// Failed tool uses / tool uses.
    pub error_rate: Option<f64>,
    /// 100 x healthy checks / checks.
    pub uptime: Option<f64>,
    /// The largest number of users present at one instant.
    pub peak_users: u64,
    /// Page views.
    pub page_views: u64,
    /// Of the visits with a page view, those with exactly one and no tool use.
    pub bounce_rate: Option<f64>,
    /// Mean length of all visits, minutes.
    pub visit_minutes: Option<f64>,
}

impl Sums {
    /// Adds the tool uses.
    pub fn add_tools(&mut self, tools: &Tools<Tool>) {
        self.tools_by_use.extend(tools.each().map(|(id, tool)| (*id, tool.uses)));
        self.other_uses += tools.together().map_or(0, |tool| tool.uses);
        for tool in tools.each().map(|(_, tool)| tool).chain(tools.together()) {
            self.failures += tool.failures;
            self.response_time.merge(tool.response_time);
        }
    }

    /// Divides and sorts.
    pub fn totals(self) -> Totals {
        let Self { visits, tool_visits, mut tools_by_use, .. } = self;
        tools_by_use.sort_unstable_by_key(|(id, uses)| (Reverse(*uses), *id));
        let tool_uses = self.other_uses + tools_by_use.iter().map(|(_, uses)| uses).sum::<u64>();
        Totals {
            inputs: self.inputs,
            active_users: self.active_users,
            tool_users: self.tool_users,
            tool_uses,
            tools_by_use,
            tool_visit_minutes: tool_visits.mean_minutes(),
            response_time: self.response_time.value(),
            error_rate: ratio(self.failures.into(), tool_uses.into()),
            uptime: ratio(100 * u128::from(self.healthy_checks), self.checks.into()),
            peak_users: self.peak_users,
            page_views: self.page_views,
            bounce_rate: ratio(visits.bounces.into(), visits.with_page_view.into()),
            visit_minutes: visits.mean_minutes(),
        }
    }
}

impl VisitSums {
    /// Adds a visit.
    pub fn add(&mut self, visit: &Visit) {
        self.count += 1;
        self.millis += u128::from(visit.duration());
        self.with_page_view += u64::from(visit.page_views > 0);
        self.bounces += u64::from(visit.is_bounce());
    }

    /// Adds the visits of others.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.millis += other.millis;
        self.with_page_view += other.with_page_view;
        self.bounces += other.bounces;
    }

    fn mean_minutes(&self) -> Option<f64> {
        ratio(self.millis, u128::from(self.count) * MINUTE)
    }
}
