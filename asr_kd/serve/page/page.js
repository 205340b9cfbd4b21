// What is seen: buttons, and for each model its words as they come and its speed. Every model gets the same audio.

import { microphoneProblem, openMicrophone, readFile, SAMPLE_RATE } from "./audio.js";
import { ModelStream } from "./stream.js";
import { paragraph } from "./words.js";

const TOKEN = "asr-kd-token";
const $ = (id) => document.getElementById(id);
let cards = [];
let streams = [];
let microphone;
let sent = Promise.resolve();
let isBusy = true;

function say(text) {
  $("status").textContent = text;
}

function fail(message) {
  $("error").textContent = message;
  $("error").hidden = !message;
}

/** Buttons that can be used now. */
function settle() {
  $("file").disabled = isBusy;
  $("microphone").disabled = (isBusy && !microphone) || Boolean(microphoneProblem());
  $("microphone").textContent = microphone ? "Stop microphone" : "Start microphone";
}

class Card {
  constructor({ name, title, is_live: isLive }) {
    this.name = name;
    this.element = $("model").content.cloneNode(true).firstElementChild;
    this.element.dataset.model = name;
    this.part("h2").textContent = title;
    this.part(".kind").textContent = isLive ? "Answers while you speak." : "Answers at pauses: it needs whole utterances.";
    $("models").append(this.element);
  }

  part(selector) {
    return this.element.querySelector(selector);
  }

  clear() {
    this.part(".utterances").replaceChildren();
    this.part(".partial").textContent = "";
    for (const measured of this.element.querySelectorAll("dd")) measured.textContent = "–";
  }

  show(result) {
    if (result.type === "error") {
      fail(`${this.part("h2").textContent}: ${result.message}`);
      return;
    }
    if (result.type === "final") this.part(".utterances").append(paragraph(result.words, "utterance"));
    this.part(".partial").textContent = result.type === "partial" ? result.text : "";
    const { seconds, work_s: work } = result;
    this.part(".seconds").textContent = `${seconds.toFixed(1)} s`;
    if (seconds > 0 && work > 0) {
      this.part(".factor").textContent = (work / seconds).toFixed(3);
      this.part(".speed").textContent = `${(seconds / work).toFixed(1)} × real time`;
    }
  }
}

function begin(text) {
  fail("");
  say(text);
  isBusy = true;
  const token = sessionStorage.getItem(TOKEN) ?? undefined;
  streams = cards.map((card) => {
    card.clear();
    return new ModelStream({ model: card.name, rate: SAMPLE_RATE, token }, (result) => card.show(result));
  });
  settle();
}

/** Samples reach each server stream in their order, and none waits for another. */
function pass(samples) {
  sent = Promise.all([sent, ...streams.map((stream) => stream.pass(samples))]);
}

async function finish() {
  await sent;
  await Promise.all(streams.map((stream) => stream.finish()));
  isBusy = false;
  say(document.querySelector(".utterance") ? "Done." : "Done: no words were found.");
  settle();
}

async function recogniseFile(file) {
  begin(`Reading ${file.name} …`);
  try {
    const samples = await readFile(file);
    say(`Recognising ${file.name} …`);
    pass(samples);
  } catch (error) {
    fail(error.message);
  }
  await finish();
}

async function switchMicrophone() {
  if (microphone) {
    const { stop } = microphone;
    microphone = undefined;
    settle();
    await stop();
    await finish();
    return;
  }
  begin("Waiting for the microphone …");
  try {
    microphone = await openMicrophone(pass);
    say("Listening. Speak now.");
    settle();
  } catch (error) {
    fail(error.message);
    await finish();
  }
}

function listen() {
  $("microphone").addEventListener("click", switchMicrophone);
  $("file").addEventListener("change", async ({ target }) => {
    if (target.files.length) await recogniseFile(target.files[0]);
    target.value = "";
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", !isBusy);
  });
  document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    if (!isBusy && event.dataTransfer.files.length) recogniseFile(event.dataTransfer.files[0]);
  });
  $("access").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(TOKEN, $("token").value);
    $("token").value = "";
    connect();
  });
}

/** The server's answer in JSON, and its status: 0 where there is none. */
async function ask(path, headers = {}) {
  const response = await fetch(path, { headers }).catch(() => null);
  return { status: response?.status ?? 0, answer: await response?.json().catch(() => null) };
}

/** Ask the server for its models, and the user for a token where the server wants one. */
async function connect() {
  const token = sessionStorage.getItem(TOKEN);
  const needsToken = !token && (await ask("health")).answer?.needs_token;
  const { status, answer } = needsToken ? {} : await ask("models", token ? { Authorization: `Bearer ${token}` } : {});
  $("access").hidden = !needsToken && status !== 401;
  if (status !== 200 || !answer) {
    say($("access").hidden ? "" : "This server asks for a token.");
    fail(needsToken ? "" : (answer?.error ?? "The server does not answer. Is it running?"));
    return;
  }
  cards = answer.map((model) => new Card(model));
  isBusy = false;
  say("Ready.");
  fail(microphoneProblem());
  settle();
}

function start() {
  if (!window.WebSocket || !window.OfflineAudioContext) {
    say("");
    fail("This browser lacks WebSockets or Web Audio. Use a current Chrome, Edge, Firefox or Safari.");
    return;
  }
  listen();
  connect();
}

start();
