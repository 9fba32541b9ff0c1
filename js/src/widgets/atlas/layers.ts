/** The slider over the sites: the cloud moves smoothly from one to the next while the hand does. */

import { iconButton, relabel } from '../../lib/controls';
import { html, set } from '../../lib/elements';
import { icon } from '../../lib/icons';
import { visible } from '../../lib/tokens';

const A_LAYER = 650;
const GLIDE = 380;
const REST = 160;

export class Layers {
  readonly element = html('div', { class: 'atlas-layers', role: 'group', 'aria-label': 'Layer' });
  /** Where the hand is: 1.5 is half way between the second and the third site. */
  place = 0;

  private readonly slider = html('input', {
    type: 'range',
    class: 'nbi-slider',
    min: 0,
    step: 'any',
    'aria-label': 'Layer'
  });
  private readonly name = html('output', { class: 'atlas-layer-name' });
  private readonly ticks = html('div', { class: 'atlas-layer-ticks', 'aria-hidden': 'true' });
  private readonly button: HTMLButtonElement;
  private sites: readonly string[] = [];
  private site = 0;
  private held = false;
  private frame = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private playing = false;

  constructor(
    private readonly moved: (place: number) => void,
    private readonly rested: (site: number) => void,
    signal: AbortSignal
  ) {
    this.button = iconButton('play', 'Play through the layers', signal, () => this.toggle(), { bare: true });
    const track = html('div', { class: 'atlas-layer-track' }, this.slider, this.ticks);
    this.element.append(this.button, track, this.name);
    this.slider.addEventListener('input', () => this.drag(Number(this.slider.value)), { signal });
    this.slider.addEventListener('pointerdown', () => (this.held = true), { signal });
    for (const end of ['pointerup', 'pointercancel', 'change', 'blur'] as const) {
      this.slider.addEventListener(end, () => this.release(), { signal });
    }
    this.slider.addEventListener('keydown', event => this.key(event), { signal });
    signal.addEventListener('abort', () => this.halt());
  }

  update(sites: readonly string[], site: number): void {
    if (sites !== this.sites) {
      this.sites = sites;
      this.element.hidden = sites.length < 2;
      this.slider.max = String(Math.max(1, sites.length - 1));
      const marks = sites.length <= 40 ? sites : [];
      this.ticks.replaceChildren(...marks.map(() => html('span')));
    }
    if (site !== this.site) {
      this.site = site;
      if (!this.held && !this.playing) {
        this.glide(site);
      }
    }
    this.tell();
  }

  /** Be at a site at once. */
  begin(sites: readonly string[], site: number): void {
    this.site = site;
    this.update(sites, site);
    this.go(site);
  }

  private nearest(): number {
    return Math.min(this.sites.length - 1, Math.max(0, Math.round(this.place)));
  }

  private go(place: number): void {
    this.place = Math.min(Math.max(0, this.sites.length - 1), Math.max(0, place));
    this.slider.value = String(this.place);
    this.tell();
    this.moved(this.place);
  }

  private tell(): void {
    const name = visible(this.sites[this.nearest()] ?? '');
    const between = Math.abs(this.place - this.nearest()) > 0.02;
    this.name.textContent = between ? `near ${name}` : name;
    const share = this.place / Math.max(1, this.sites.length - 1);
    set(this.slider, { 'aria-valuetext': `${name}, ${this.nearest() + 1} of ${this.sites.length}` });
    this.slider.style.setProperty('--from', '0');
    this.slider.style.setProperty('--to', String(share));
    this.slider.style.setProperty('--home', '0');
  }

  private drag(place: number): void {
    this.halt();
    this.go(place);
    clearTimeout(this.timer);
    // a hand that rests on its way wants to know what is there
    this.timer = setTimeout(() => this.settle(false), REST);
  }

  private release(): void {
    if (this.held) {
      this.held = false;
      this.settle(true);
    }
  }

  private settle(snap: boolean): void {
    clearTimeout(this.timer);
    const site = this.nearest();
    if (snap || !this.held) {
      this.glide(site);
    }
    if (site !== this.site) {
      this.site = site;
      this.rested(site);
    }
  }

  private key(event: KeyboardEvent): void {
    const at = this.nearest();
    const last = this.sites.length - 1;
    const moves: Record<string, number> = {
      ...{ ArrowRight: at + 1, ArrowUp: at + 1, ArrowLeft: at - 1, ArrowDown: at - 1 },
      ...{ PageUp: at + 5, PageDown: at - 5, Home: 0, End: last }
    };
    const to = moves[event.key];
    if (to !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.halt();
      this.held = false;
      const site = Math.min(last, Math.max(0, to));
      this.place = site;
      this.settle(true);
      this.go(site);
    }
  }

  private halt(): void {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
    if (this.playing) {
      this.playing = false;
      this.showButton();
    }
  }

  /** Move to a site; at once where movement is not wanted. */
  private glide(site: number): void {
    cancelAnimationFrame(this.frame);
    const from = this.place;
    if (matchMedia('(prefers-reduced-motion: reduce)').matches || Math.abs(from - site) < 0.005) {
      this.go(site);
      return;
    }
    const began = performance.now();
    const step = (now: number): void => {
      const share = Math.min(1, Math.max(0, (now - began) / GLIDE));
      const eased = 1 - (1 - share) ** 3;
      this.go(share === 1 ? site : from + (site - from) * eased);
      if (share < 1) {
        this.frame = requestAnimationFrame(step);
      }
    };
    this.frame = requestAnimationFrame(step);
  }

  private toggle(): void {
    if (this.playing) {
      this.halt();
      this.settle(true);
      return;
    }
    const last = this.sites.length - 1;
    this.halt();
    this.playing = true;
    this.showButton();
    if (this.place > last - 0.01) {
      this.go(0);
    }
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    const [from, began] = [this.place, performance.now()];
    const step = (now: number): void => {
      const place = Math.min(last, from + Math.max(0, now - began) / A_LAYER);
      // without movement the cloud stands at one layer after the other
      const shown = still ? Math.floor(place + 1e-9) : place;
      if (shown !== this.place) {
        this.go(shown);
      }
      if (place < last) {
        this.frame = requestAnimationFrame(step);
      } else {
        this.halt();
        this.settle(true);
      }
    };
    this.frame = requestAnimationFrame(step);
  }

  private showButton(): void {
    this.button.replaceChildren(icon(this.playing ? 'stop' : 'play'));
    relabel(this.button, this.playing ? 'Stop' : 'Play through the layers');
  }
}
