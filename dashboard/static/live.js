// Shows the numbers of the live page as the server sends them. Without this script the page loads itself anew from time to time.
"use strict";
(() => {
  const SILENCE = 30000;
  const trouble = document.getElementById("live-trouble");
  let heard = Date.now();

  const say = (text) => {
    if (trouble.textContent !== text) trouble.textContent = text;
    trouble.hidden = text === "";
  };

  const show = (html) => {
    const sent = new DOMParser().parseFromString(html, "text/html");
    for (const part of sent.querySelectorAll("[data-live]")) {
      const shown = document.querySelector(`[data-live="${part.dataset.live}"]`);
      if (shown && shown.innerHTML !== part.innerHTML) shown.replaceChildren(...part.childNodes);
    }
  };

  const source = new EventSource("/api/v1/live/events");
  source.onmessage = (event) => {
    heard = Date.now();
    say("");
    show(event.data);
  };
  source.onopen = () => { heard = Date.now(); };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) say("The server sends no more numbers. Load the page again; you may have to sign in.");
  };
  setInterval(() => {
    if (source.readyState !== EventSource.CLOSED && Date.now() - heard > SILENCE) {
      say("No numbers for " + Math.round((Date.now() - heard) / 1000) + " s: the connection to the server is gone. What stands here is older.");
    }
  }, 5000);
})();
