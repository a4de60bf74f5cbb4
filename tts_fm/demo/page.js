() => {
  // What the demo's page does by itself: the player of sound that is still being spoken, comparing of takes, errors
  // beside their field, shortcuts, files dropped anywhere, light and dark. Gradio runs it once, when the page loads.
  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const seen = (element) => element && element.offsetParent !== null;
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  document.documentElement.lang = "en";

  // ---- light and dark: the system's, or what was chosen here

  const dark = (on) => {
    document.body.classList.toggle("dark", on);
    document.documentElement.style.colorScheme = on ? "dark" : "light";
    const button = $("#tts-theme");
    if (button) button.textContent = on ? "Light" : "Dark";
  };
  const asked = new URLSearchParams(location.search).get("__theme");
  const chosen = asked ? null : localStorage.getItem("tts-theme");
  dark(chosen ? chosen === "dark" : document.body.classList.contains("dark"));

  // ---- sound that is heard while more of it is spoken

  const player = {context: null, run: "", page: "", sounds: [], next: 0, at: 0, ended: false, clicked: 0, first: 0};
  const heard = new Set(); // runs that were begun: those of other pages stay in the document
  window.ttsPlayer = player; // read by tests
  const wanted = () => localStorage.getItem("tts-auto") !== "off";
  const strip = () => $(`.tts-player[data-page="${player.page}"]`);

  function begin() {
    player.clicked = performance.now();
    player.context ??= new AudioContext();
    player.context.resume();
  }
  function silence() {
    player.run = "";
    for (const source of player.playing ?? []) source.stop();
    player.playing = [];
    show();
  }
  function show(words) {
    const element = strip();
    if (!element) return;
    const button = $(".tts-pause", element);
    const on = player.run !== "" && (player.playing ?? []).length > 0;
    button.disabled = !on;
    button.textContent = player.context?.state === "suspended" && on ? "Go on" : "Pause";
    if (words !== undefined) $(".tts-first", element).textContent = words;
  }
  function hear(feed) {
    const told = feed.dataset;
    if (told.run !== player.run) {
      if (heard.has(told.run)) return;
      heard.add(told.run);
      if (!wanted() || !player.clicked) return;
      silence();
      Object.assign(player, {run: told.run, sounds: [], next: 0, at: 0, ended: false, first: 0});
      player.page = feed.closest("[id$='-live']").id.replace(/-live$/, "");
      play(told.run);
    }
    JSON.parse(told.sounds).forEach((sound, k) => (player.sounds[Number(told.first) + k] ??= sound));
    player.ended = told.ended === "1";
  }
  async function play(run) {
    const context = player.context;
    while (player.run === run) {
      const sound = player.sounds[player.next];
      if (!sound) {
        if (player.ended && player.next >= player.sounds.length) break;
        await pause(20);
        continue;
      }
      if (player.next && player.at - context.currentTime > 20) {
        await pause(500); // far enough ahead
        continue;
      }
      player.next += 1;
      let buffer;
      try {
        const answer = await fetch(new URL(sound[0], document.baseURI));
        buffer = await context.decodeAudioData(await answer.arrayBuffer());
      } catch {
        continue; // it is gone: go on with what comes behind it
      }
      if (player.run !== run) return;
      const source = context.createBufferSource();
      source.buffer = buffer;
      source.connect(context.destination);
      const start = Math.max(player.at + (player.at ? sound[1] : 0), context.currentTime + 0.01);
      source.start(start);
      player.at = start + buffer.duration;
      player.playing.push(source);
      source.onended = () => {
        player.playing = player.playing.filter((one) => one !== source);
        show();
      };
      if (!player.first) {
        player.first = performance.now() + 1000 * (start - context.currentTime) - player.clicked;
        show(`First sound after ${(player.first / 1000).toFixed(2)} s.`);
      } else show();
    }
  }

  // ---- two takes beside each other

  function compare(button) {
    const mine = button.dataset.side, takes = button.closest(".tts-takes");
    const file = (side) => $(`input[name="tts-side-${side}"]:checked`, takes)?.value;
    const sound = (side) => all("audio", takes).find((one) => one.getAttribute("src") === file(side));
    const [one, other] = [sound(mine), sound(mine === "A" ? "B" : "A")];
    if (!one) return;
    const going = !one.paused, at = other && !other.paused ? other.currentTime : 0;
    for (const each of all("audio", takes)) each.pause();
    if (!going) {
      one.currentTime = at;
      one.play();
    }
    for (const each of all(".tts-ab", takes)) each.setAttribute("aria-pressed", String(each === button && !going));
    one.onended = () => all(".tts-ab", takes).forEach((each) => each.setAttribute("aria-pressed", "false"));
  }

  // ---- an error beside its field

  async function fault(line) {
    const told = $("[data-field]", line);
    const now = told ? told.dataset.field + told.textContent : "";
    if (line.ttsFault === now) return;
    line.ttsFault = now;
    for (const note of all(`.tts-fault[data-of="${line.id}"]`)) {
      for (const input of all("[aria-invalid]", note.parentElement)) {
        input.removeAttribute("aria-invalid");
        input.removeAttribute("aria-describedby");
      }
      note.remove();
    }
    if (!told) return;
    const field = await found(told.dataset.field);
    if (!field || line.ttsFault !== now) return;
    const note = document.createElement("p");
    Object.assign(note, {className: "tts-fault", id: `${field.id}-fault`, textContent: told.dataset.said});
    note.dataset.of = line.id;
    field.append(note);
    const input = $("textarea, input, select, button", field);
    input?.setAttribute("aria-invalid", "true");
    input?.setAttribute("aria-describedby", note.id);
    input?.focus({preventScroll: true});
    field.scrollIntoView({block: "nearest"});
  }
  async function found(id) {
    const page = id.split("-")[0];
    for (const part of ["", "own", "guests", "sampling", "sampling-more"]) {
      const field = document.getElementById(id);
      if (seen(field)) return field;
      if (part) await unfold(`${page}-${part}`);
    }
    return document.getElementById(id);
  }
  async function unfold(id) {
    const head = $(`#${id} button.label-wrap`);
    if (head && head.getAttribute("aria-expanded") !== "true" && !head.classList.contains("open")) {
      head.click();
      await pause(150);
    }
  }

  // ---- keyboard

  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const kind = {Enter: "go", ".": "stop"}[event.key];
    const button = kind && all(`button[id$="-${kind}"]`).find(seen);
    if (!button) return;
    event.preventDefault();
    button.click();
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if (/-go$/.test(button.id)) {
      silence();
      begin();
    } else if (/-stop$/.test(button.id)) silence();
    else if (button.id === "tts-theme") {
      dark(!document.body.classList.contains("dark"));
      localStorage.setItem("tts-theme", document.body.classList.contains("dark") ? "dark" : "light");
    } else if (button.matches(".tts-ab")) compare(button);
    else if (button.matches(".tts-pause")) {
      const still = player.context.state === "suspended";
      (still ? player.context.resume() : player.context.suspend()).then(() => show());
    }
  }, true);
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.(".tts-auto")) return;
    localStorage.setItem("tts-auto", event.target.checked ? "on" : "off");
    for (const box of all(".tts-auto")) box.checked = event.target.checked;
    if (!event.target.checked) silence();
  });
  document.addEventListener("keydown", (event) => { // Shift+Enter in a text box is Gradio's, and speaks too
    if (event.key === "Enter" && event.shiftKey && event.target.matches?.("textarea")) {
      silence();
      begin();
    }
  }, true);

  // ---- files dropped anywhere

  const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    document.body.classList.add("tts-dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("tts-dropping");
  });
  document.addEventListener("drop", () => document.body.classList.remove("tts-dropping"), true);
  document.addEventListener("drop", async (event) => {
    if (!files(event) || event.defaultPrevented) return; // a field took it
    event.preventDefault();
    await dropped(event.dataTransfer.files);
  });
  async function dropped(list) {
    const fits = (input) => !input.accept || input.accept.split(",").some((kind) => {
      kind = kind.trim().toLowerCase();
      const {name, type} = list[0];
      return kind.endsWith("/*") ? type.startsWith(kind.slice(0, -1)) : name.toLowerCase().endsWith(kind);
    });
    const panel = all("[role=tabpanel]").find(seen);
    if (!panel) return;
    for (const part of [null, "own", "guests"]) {
      const folded = part && $(`[id$="-${part}"]`, panel);
      if (part && !folded) continue;
      if (folded) await unfold(folded.id);
      const input = all("input[type=file]", panel).find(fits);
      if (!input) continue;
      const kept = new DataTransfer();
      for (const file of [...list].slice(0, input.multiple ? list.length : 1)) kept.items.add(file);
      input.files = kept.files;
      input.dispatchEvent(new Event("change", {bubbles: true}));
      return;
    }
  }
  window.ttsDropped = dropped; // tests cannot drag

  // ---- whenever the page has changed. Status lines are live regions, so that a screen reader says what they show;
  // Gradio's "Empty value" labels need a role to be allowed.

  function mend() {
    for (const line of all(".tts-status[id$='-status']")) {
      if (!line.hasAttribute("role")) line.setAttribute("role", "status");
      fault(line);
    }
    for (const empty of all("div.empty[aria-label]:not([role])")) empty.setAttribute("role", "img");
    for (const box of all(".tts-auto")) if (box.ttsSet === undefined) box.checked = box.ttsSet = wanted();
    for (const feed of all(".tts-live")) hear(feed);
    const button = $("#tts-theme");
    if (button && !button.textContent) dark(document.body.classList.contains("dark"));
  }
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      mend();
    }, 15);
  };
  mend();
  new MutationObserver(soon).observe(document.body, {childList: true, subtree: true});
}
