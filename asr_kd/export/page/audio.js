// Samples, 16 kHz, of a file or of the microphone.

import { Resampler } from "./resampler.js";
import { concatenated } from "./samples.js";

export const SAMPLE_RATE = 16000;
const USUAL_RATE = 48000;
const RATES = [8000, 96000];

/** What WAV and FLAC say in their headers, so that they are not resampled in between; other files have a usual one. */
function rateOf(buffer) {
  const view = new DataView(buffer.slice(0, 32));
  const begins = (text) => view.byteLength === 32 && [...text].every((c, n) => view.getUint8(n) === c.charCodeAt());
  const rate = begins("RIFF") ? view.getUint32(24, true) : begins("fLaC") ? view.getUint32(18) >>> 12 : USUAL_RATE;
  return rate >= RATES[0] && rate <= RATES[1] ? rate : USUAL_RATE;
}

/** The whole of an audio file, its channels averaged. */
export async function readFile(file) {
  const buffer = await file.arrayBuffer();
  const rate = rateOf(buffer);
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(buffer);
  } catch {
    throw new Error(`${file.name}: this browser cannot read it as audio. Give WAV, FLAC, MP3, Ogg or M4A.`);
  }
  const samples = audio.getChannelData(0).slice();
  for (let channel = 1; channel < audio.numberOfChannels; channel++) {
    audio.getChannelData(channel).forEach((sample, n) => (samples[n] += sample));
  }
  if (!samples.every(Number.isFinite)) throw new Error(`${file.name}: holds samples that are not numbers. Record it anew.`);
  const mixed = audio.numberOfChannels > 1 ? samples.map((sample) => sample / audio.numberOfChannels) : samples;
  const resampler = new Resampler(rate, SAMPLE_RATE);
  return concatenated(resampler.accept(mixed), resampler.finish());
}

/** What is missing for the microphone, in one line, or nothing. */
export function microphoneProblem() {
  if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
    return "Microphone: the browser gives it to https:// and http://localhost only. Open the page from there, or choose a file.";
  }
  if (!window.AudioWorkletNode) return "Microphone: this browser has no AudioWorklet. Use a newer one, or choose a file.";
  return "";
}

/** Calls onSamples(samples) until the stop() of what it gives has been waited for. */
export async function openMicrophone(onSamples) {
  let stream;
  try {
    const raw = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
  } catch (error) {
    const reason = { NotAllowedError: "it was not allowed", NotFoundError: "there is none" }[error.name] ?? error.message;
    throw new Error(`Microphone: ${reason}. Allow or connect one, or choose a file.`);
  }
  const release = () => stream.getTracks().forEach((track) => track.stop());
  const context = new AudioContext(); // at the device's own rate
  try {
    await context.audioWorklet.addModule("audio-worklet.js");
    const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    const resampler = new Resampler(context.sampleRate, SAMPLE_RATE);
    let hasBegun = false; // many begin with zeros, which is no silence that models know
    const isOver = new Promise((resolve) => {
      capture.port.onmessage = ({ data }) => {
        hasBegun ||= data.samples.some(Boolean);
        if (hasBegun) onSamples(resampler.accept(data.samples));
        if (!data.isLast) return;
        onSamples(resampler.finish());
        resolve();
      };
    });
    context.createMediaStreamSource(stream).connect(capture);
    const stop = async () => {
      capture.port.postMessage("stop");
      await isOver;
      release();
      await context.close();
    };
    return { stop };
  } catch (error) {
    release();
    await context.close();
    throw new Error(`Microphone: the browser does not pass its sound on (${error.message}). Choose a file.`);
  }
}
