//! The visits of one session: its events, cut where nothing happened for more than 30 minutes.
//!
//! A visit is a connected component: two events belong together when the gap between them is at most [`LONGEST_GAP`],
//! directly or through others. Components do not depend on the order in which their members come, so sessions that were
//! folded apart merge exactly.

/// The longest gap within a visit, milliseconds.
pub const LONGEST_GAP: i64 = 30 * 60 * 1000;

/// What is known of a visit, or what one event adds to it. Times are milliseconds from the start of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Start of its earliest event.
    pub start: i64,
    /// Its latest end; not before `start`.
    pub end: i64,
    /// Page views; stops counting at 255, for only none, one and many are told apart.
    pub page_views: u8,
    /// Tool uses; stops counting at 255.
    pub tool_uses: u8,
}

impl Visit {
    /// Milliseconds from the earliest start to the latest end.
    pub fn duration(&self) -> u64 {
        self.end.abs_diff(self.start)
    }

    /// Exactly one page was seen and no tool used.
    pub fn is_bounce(&self) -> bool {
        self.page_views == 1 && self.tool_uses == 0
    }

    fn belongs_with(&self, other: &Self) -> bool {
        self.start <= other.end + LONGEST_GAP && other.start <= self.end + LONGEST_GAP
    }

    fn joined(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
            page_views: self.page_views.saturating_add(other.page_views),
            tool_uses: self.tool_uses.saturating_add(other.tool_uses),
        }
    }

    /// Takes a visit into a list of visits that do not belong together, sorted by start.
    fn insert_into(mut self, visits: &mut Vec<Self>) {
        let from = visits.partition_point(|visit| visit.end + LONGEST_GAP < self.start);
        let to = visits.partition_point(|visit| visit.start <= self.end + LONGEST_GAP);
        for visit in visits.drain(from..to) {
            self = self.joined(visit);
        }
        visits.insert(from, self);
    }
}

/// One session's day.
#[derive(Clone, Debug)]
pub enum Session {
    /// What nearly all of the millions are.
    Single(Single),
    /// Anything else.
    Several(Box<Several>),
}

/// One visit, with at most one of tool use alone in it, all within 24 days of the day's start: 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Single {
    start: i32,
    end: i32,
    /// Without meaning while `tool_uses` is 0.
    tools_start: i32,
    tools_end: i32,
    page_views: u8,
    tool_uses: u8,
}

/// The visits of a session, sorted by start, no two of which belong together.
#[derive(Clone, Debug, Default)]
pub struct Several {
    all: Vec<Visit>,
    /// The same of its tool uses alone: a page view may bridge two of them.
    of_tools: Vec<Visit>,
}

impl Session {
    /// A session of one event.
    // Inlined, so that it is written where it is to stay: moved, it was a tenth of a scan's profile.
    #[inline(always)]
    pub fn of(event: Visit) -> Self {
        match Self::single(event, (event.tool_uses > 0).then_some(event)) {
            Some(single) => single,
            None => Self::several(event),
        }
    }

    #[cold]
    fn several(event: Visit) -> Self {
        let mut several = Several::default();
        several.add(event);
        Self::Several(Box::new(several))
    }

    /// Adds one event.
    pub fn add(&mut self, event: Visit) {
        *self = match self.joined(event, (event.tool_uses > 0).then_some(event)) {
            Some(joined) => joined,
            None => {
                let mut several = self.take_apart();
                several.add(event);
                Self::Several(several)
            }
        };
    }

    /// Adds everything that another part of the same session holds.
    pub fn merge(&mut self, other: Self) {
        // Most sessions that two slices share are one visit across their border.
        if let Self::Single(single) = &other
            && let Some(joined) = self.joined(single.visit(), single.tool_visit())
        {
            *self = joined;
            return;
        }
        let mut several = self.take_apart();
        for visit in other.visits() {
            visit.insert_into(&mut several.all);
        }
        for visit in other.tool_visits() {
            visit.insert_into(&mut several.of_tools);
        }
        // What was apart may have been bridged.
        let single = match (several.all.as_slice(), several.of_tools.as_slice()) {
            ([visit], []) => Self::single(*visit, None),
            ([visit], [of_tools]) => Self::single(*visit, Some(*of_tools)),
            _ => None,
        };
        *self = single.unwrap_or(Self::Several(several));
    }

    /// Bytes held outside of the value itself.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Single(_) => 0,
            Self::Several(several) => {
                size_of::<Several>() + (several.all.capacity() + several.of_tools.capacity()) * size_of::<Visit>()
            }
        }
    }

    /// Its visits, by start.
    pub fn visits(&self) -> impl Iterator<Item = Visit> + '_ {
        let (single, several) = match self {
            Self::Single(single) => (Some(single.visit()), [].as_slice()),
            Self::Several(several) => (None, several.all.as_slice()),
        };
        single.into_iter().chain(several.iter().copied())
    }

    /// The visits that its tool uses alone make, by start.
    pub fn tool_visits(&self) -> impl Iterator<Item = Visit> + '_ {
        let (single, several) = match self {
            Self::Single(single) => (single.tool_visit(), [].as_slice()),
            Self::Several(several) => (None, several.of_tools.as_slice()),
        };
        single.into_iter().chain(several.iter().copied())
    }

    /// The session with one more visit, and what its tool uses alone make, if it then still is a single one.
    fn joined(&self, visit: Visit, of_tools: Option<Visit>) -> Option<Self> {
        let Self::Single(single) = self else { return None };
        let visit = Some(single.visit()).filter(|known| known.belongs_with(&visit))?.joined(visit);
        let of_tools = match (single.tool_visit(), of_tools) {
            (Some(known), Some(of_tools)) if known.belongs_with(&of_tools) => Some(known.joined(of_tools)),
            (Some(_), Some(_)) => return None,
            (known, of_tools) => known.or(of_tools),
        };
        Self::single(visit, of_tools)
    }

    /// None when a time does not fit.
    #[inline(always)]
    fn single(visit: Visit, of_tools: Option<Visit>) -> Option<Self> {
        let (tools_start, tools_end) = of_tools.map_or((0, 0), |visit| (visit.start, visit.end));
        Some(Self::Single(Single {
            start: i32::try_from(visit.start).ok()?,
            end: i32::try_from(visit.end).ok()?,
            tools_start: i32::try_from(tools_start).ok()?,
            tools_end: i32::try_from(tools_end).ok()?,
            page_views: visit.page_views,
            tool_uses: visit.tool_uses,
        }))
    }

    /// Moves the visits out; what is left has no meaning and must be overwritten.
    fn take_apart(&mut self) -> Box<Several> {
        match std::mem::replace(self, Self::Single(Single::default())) {
            Self::Several(several) => several,
            single => Box::new(Several { all: single.visits().collect(), of_tools: single.tool_visits().collect() }),
        }
    }
}

impl Single {
    fn visit(&self) -> Visit {
        let Self { start, end, page_views, tool_uses, .. } = *self;
        Visit { start: start.into(), end: end.into(), page_views, tool_uses }
    }

    fn tool_visit(&self) -> Option<Visit> {
        let Self { tools_start, tools_end, tool_uses, .. } = *self;
        let visit = Visit { start: tools_start.into(), end: tools_end.into(), page_views: 0, tool_uses };
        (tool_uses > 0).then_some(visit)
    }
}

impl Several {
    fn add(&mut self, event: Visit) {
        event.insert_into(&mut self.all);
        if event.tool_uses > 0 {
            event.insert_into(&mut self.of_tools);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60 * 1000;

    fn page(at: i64) -> Visit {
        Visit { start: at, end: at, page_views: 1, tool_uses: 0 }
    }

    fn tool(start: i64, end: i64) -> Visit {
        Visit { start, end, page_views: 0, tool_uses: 1 }
    }

    fn session(events: &[Visit]) -> Session {
        let mut session = Session::of(events[0]);
        events[1..].iter().for_each(|event| session.add(*event));
        session
    }

    #[test]
    fn thirty_minutes_hold_together_and_a_millisecond_more_cuts() {
        for (gap, visits) in [(LONGEST_GAP - 1, 1), (LONGEST_GAP, 1), (LONGEST_GAP + 1, 2)] {
            assert_eq!(session(&[tool(0, 500), page(500 + gap)]).visits().count(), visits);
            assert_eq!(session(&[page(500 + gap), tool(0, 500)]).visits().count(), visits);
        }
    }

    #[test]
    fn the_gap_counts_from_the_latest_end_not_the_last_event() {
        let long_run = [tool(0, 50 * MINUTE), page(MINUTE), page(80 * MINUTE)];
        assert_eq!(session(&long_run).visits().count(), 1);
    }

    #[test]
    fn a_page_view_bridges_visits_but_not_those_of_tool_use_alone() {
        let bridged = session(&[tool(0, 0), tool(50 * MINUTE, 50 * MINUTE), page(25 * MINUTE)]);
        assert_eq!(bridged.visits().count(), 1);
        assert_eq!(bridged.tool_visits().count(), 2);
        let whole = bridged.visits().next().unwrap();
        assert_eq!((whole.duration(), whole.page_views, whole.tool_uses), (50 * MINUTE as u64, 1, 2));
    }

    #[test]
    fn far_times_are_held() {
        let far = session(&[tool(-i64::MAX / 2, -i64::MAX / 2), page(i64::MAX / 2), page(0)]);
        assert_eq!(far.visits().count(), 3);
        assert_eq!(session(&[tool(-MINUTE, i64::MAX / 2)]).visits().next().unwrap().end, i64::MAX / 2);
    }

    #[test]
    fn a_merge_across_a_border_is_a_single_visit_again() {
        let mut left = session(&[tool(0, 10), page(20)]);
        left.merge(session(&[tool(30, 40)]));
        let expected = Single { start: 0, end: 40, tools_start: 0, tools_end: 40, page_views: 1, tool_uses: 2 };
        assert!(matches!(left, Session::Single(single) if single == expected));
    }
}
