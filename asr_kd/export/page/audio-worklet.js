// Hands samples of the microphone on, a tenth of a second at a time. onnxruntime-web does not start in here.

const PIECE = Math.round(sampleRate / 10);

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(PIECE);
    this.filled = 0;
    this.isOver = false;
    this.port.onmessage = () => {
      this.port.postMessage({ samples: this.piece.slice(0, this.filled), isLast: true });
      this.isOver = true;
    };
  }

  process([[samples]]) {
    if (samples && !this.isOver) {
      for (const sample of samples) {
        this.piece[this.filled++] = sample;
        if (this.filled === PIECE) {
          this.port.postMessage({ samples: this.piece.slice(), isLast: false });
          this.filled = 0;
        }
      }
    }
    return !this.isOver;
  }
}

registerProcessor("capture", Capture);
