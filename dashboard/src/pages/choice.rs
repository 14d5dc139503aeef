//! What a list of a form offers.

/// One of the words of an enumeration.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// Sent and shown.
    pub name: &'static str,
    /// Whether it is the one that holds now.
    pub is_chosen: bool,
}

/// All words of an enumeration.
pub fn choices<T: Copy + PartialEq>(all: &[T], chosen: Option<T>, name: impl Fn(T) -> &'static str) -> Vec<Choice> {
    all.iter().map(|one| Choice { name: name(*one), is_chosen: chosen == Some(*one) }).collect()
}
