//! Texts that came from outside.

/// The one of an enumeration that has this name.
///
/// # Errors
/// None has it: what was expected.
pub fn known<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|known| name(*known) == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|known| name(*known)).collect();
        format!("one of {}", names.join(", "))
    })
}

/// Whether a browser may follow this address: it leads to the web, and runs no script.
pub fn is_web_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}
