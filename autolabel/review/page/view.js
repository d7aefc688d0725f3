// The stage: an image with layers over it, zoom and pan. It knows pixels of the image, and nothing of labels.

export class View {
  constructor(stage, world, { onPick, onHover }) {
    Object.assign(this, { stage, world, onPick, onHover, scale: 1, x: 0, y: 0, size: [1, 1], layers: new Map() });
    stage.addEventListener("wheel", (e) => { e.preventDefault(); this.zoom(Math.exp(-e.deltaY * 0.0018), e); }, { passive: false });
    stage.addEventListener("pointerdown", (e) => this.#press(e));
    stage.addEventListener("pointermove", (e) => this.#move(e));
    stage.addEventListener("pointerup", (e) => this.#release(e));
    stage.addEventListener("pointerleave", () => this.onHover(null));
    new ResizeObserver(() => this.fitted && this.fit()).observe(stage);
  }

  // Show an image of a size; layers of the one before go away.
  open(width, height) {
    this.size = [width, height];
    this.world.replaceChildren();
    this.layers.clear();
    this.world.style.width = `${width}px`;
    this.world.style.height = `${height}px`;
    this.fit();
  }

  // Put an image into a layer; resolves once it is shown. An empty address takes the layer away.
  async layer(name, address, { opacity = 1, smooth = false } = {}) {
    const old = this.layers.get(name);
    if (!address) { old?.remove(); this.layers.delete(name); return; }
    const img = new Image(...this.size);
    img.alt = "";
    img.dataset.layer = name;
    img.draggable = false;
    img.style.opacity = opacity;
    img.className = smooth ? "smooth" : "";
    this.layers.set(name, img);
    img.src = address;
    try { await img.decode(); } catch { this.layers.get(name) === img && this.layers.delete(name); old?.remove(); throw new Error(`the layer ${name} cannot be shown`); }
    if (this.layers.get(name) !== img) return;  // another image was opened meanwhile
    old?.isConnected ? old.replaceWith(img) : this.world.append(img);
  }

  opacity(name, value) { const img = this.layers.get(name); if (img) img.style.opacity = value; }

  fit() {
    const { clientWidth: w, clientHeight: h } = this.stage, [iw, ih] = this.size;
    this.scale = Math.min(w / iw, h / ih) || 1;
    this.x = (w - iw * this.scale) / 2;
    this.y = (h - ih * this.scale) / 2;
    this.fitted = true;
    this.#place();
  }

  // Zoom about a point of the screen, by default the middle of the stage.
  zoom(factor, at = null) {
    const box = this.stage.getBoundingClientRect();
    const px = at ? at.clientX - box.left : box.width / 2, py = at ? at.clientY - box.top : box.height / 2;
    const scale = Math.min(Math.max(this.scale * factor, 0.02), 64);
    this.x = px - (px - this.x) * scale / this.scale;
    this.y = py - (py - this.y) * scale / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.#place();
  }

  // Bring a pixel to the middle, or near it at an edge of the image: nothing beyond the image is shown if it can be.
  centre(x, y, scale) {
    const within = (place, shown, whole) => whole > shown ? Math.min(Math.max(place, shown - whole), 0) : (shown - whole) / 2;
    const { clientWidth: w, clientHeight: h } = this.stage;
    this.scale = scale;
    this.x = within(w / 2 - (x + 0.5) * scale, w, this.size[0] * scale);
    this.y = within(h / 2 - (y + 0.5) * scale, h, this.size[1] * scale);
    this.fitted = false;
    this.#place();
  }

  #place() {
    this.world.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.world.classList.toggle("near", this.scale > 2.5);
  }

  #pixel(event) {
    const box = this.stage.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left - this.x) / this.scale), y = Math.floor((event.clientY - box.top - this.y) / this.scale);
    return x >= 0 && y >= 0 && x < this.size[0] && y < this.size[1] ? { x, y } : null;
  }

  #press(event) {
    if (event.button) return;
    this.stage.setPointerCapture(event.pointerId);
    this.drag = { x: event.clientX, y: event.clientY, moved: false };
  }

  #move(event) {
    const drag = this.drag;
    if (!drag) return this.onHover(this.#pixel(event));
    const dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    if (!drag.moved && Math.hypot(dx, dy) < 4) return;
    Object.assign(drag, { x: event.clientX, y: event.clientY, moved: true });
    this.x += dx; this.y += dy; this.fitted = false;
    this.#place();
  }

  #release(event) {
    const drag = this.drag;
    this.drag = null;
    if (drag && !drag.moved) { const at = this.#pixel(event); if (at) this.onPick(at); }
  }
}
