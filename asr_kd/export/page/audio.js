// Samples, 16 kHz, of a file or of the microphone.

export const SAMPLE_RATE = 16000;

/** The whole of an audio file, its channels averaged. */
export async function readFile(file) {
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name}: this browser cannot read it as audio. Give WAV, FLAC, MP3, Ogg or M4A.`);
  }
  const samples = audio.getChannelData(0).slice();
  for (let channel = 1; channel < audio.numberOfChannels; channel++) {
    audio.getChannelData(channel).forEach((sample, n) => (samples[n] += sample));
  }
  return audio.numberOfChannels > 1 ? samples.map((sample) => sample / audio.numberOfChannels) : samples;
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
  const context = new AudioContext({ sampleRate: SAMPLE_RATE });
  try {
    await context.audioWorklet.addModule("audio-worklet.js");
    const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    const isOver = new Promise((resolve) => {
      capture.port.onmessage = ({ data }) => {
        onSamples(data.samples);
        if (data.isLast) resolve();
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
  } catch {
    release();
    await context.close();
    throw new Error("Microphone: this browser does not resample it to 16 kHz. Use another browser, or choose a file.");
  }
}
