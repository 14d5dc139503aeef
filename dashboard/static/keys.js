// Keys for what a page offers: an element names its own in aria-keyshortcuts. Without this script everything is done by its links and fields.
"use strict";
(() => {
  const dialog = document.getElementById("keys");
  const opens = document.getElementById("keys-open");
  const isOn = document.getElementById("keys-on");

  opens.hidden = false;
  opens.addEventListener("click", () => dialog.showModal());
  // Who dictates, or types with a switch, can turn the keys off.
  isOn.checked = localStorage.getItem("keys") !== "off";
  isOn.addEventListener("change", () => localStorage.setItem("keys", isOn.checked ? "on" : "off"));

  document.addEventListener("keydown", (event) => {
    if (!isOn.checked || dialog.open || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest("input, select, textarea")) return;
    // A wide table is moved with the arrows.
    if (event.key.startsWith("Arrow") && event.target.closest(".scroll")) return;
    if (event.key === "?") {
      event.preventDefault();
      dialog.showModal();
      return;
    }
    const key = event.key.toLowerCase();
    const offers = [...document.querySelectorAll("[aria-keyshortcuts]")];
    const meant = offers.find((offer) => offer.getAttribute("aria-keyshortcuts").toLowerCase() === key);
    if (!meant) return;
    event.preventDefault();
    if (meant.matches("a")) meant.click();
    else meant.focus();
  });
})();
