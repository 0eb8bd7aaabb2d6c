// Draws a published window as a moving picture: its bins one after the other, until the next window comes.

const LONGEST_BIN_MS = 500;

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.top = 0; // brightest value lately: the scale must not jump from window to window
    this.bins = [];
    this.shown = -1;
  }

  // Show a window; `millisecondsToNext` is how long it takes until the next one, as far as is known.
  show(header, payload, millisecondsToNext, now) {
    const [channels, height, width] = header.picture;
    const polarities = channels % 2 ? 1 : 2; // an odd number of channels: nodes of a voxel grid, signed
    const step = (header.high - header.low) / 255;
    const area = height * width;
    this.bins = [];
    let top = 0;
    for (let channel = 0; channel < channels; channel += polarities) {
      const bin = new Float32Array(area);
      for (let pixel = 0; pixel < area; pixel++) {
        const first = header.low + step * payload[channel * area + pixel];
        const value = polarities === 1 ? first : header.low + step * payload[(channel + 1) * area + pixel] - first;
        bin[pixel] = value;
        top = Math.max(top, Math.abs(value));
      }
      this.bins.push(bin);
    }
    this.top = Math.max(top, 0.95 * this.top);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.canvas.style.aspectRatio = `${width} / ${height}`;
    }
    this.began = now;
    this.binMs = Math.min(LONGEST_BIN_MS, millisecondsToNext / this.bins.length);
    this.shown = -1;
    this.draw(now);
  }

  // Draw the bin of this moment, if it is not drawn yet.
  draw(now) {
    if (!this.bins.length) return;
    // An animation frame begins before the message that came in it.
    const bin = Math.max(0, Math.min(this.bins.length - 1, Math.floor((now - this.began) / this.binMs)));
    if (bin === this.shown) return;
    this.shown = bin;
    const image = this.context.createImageData(this.canvas.width, this.canvas.height);
    const gain = this.top > 0 ? 127 / Math.sqrt(this.top) : 0;
    this.bins[bin].forEach((value, pixel) => {
      const grey = 128 + Math.sign(value) * gain * Math.sqrt(Math.abs(value)); // the root shows what is faint, too
      image.data.fill(grey, 4 * pixel, 4 * pixel + 3);
      image.data[4 * pixel + 3] = 255;
    });
    this.context.putImageData(image, 0, 0);
  }

  clear() {
    this.bins = [];
    this.top = 0;
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}
