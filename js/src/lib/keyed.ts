/** Elements that stay themselves while the list they show changes: what has the focus keeps it. */

export interface Kept {
  element: HTMLElement;
}

/** One element an item, found again by the item's key, in the order of the items. */
export class Keyed<Item, View extends Kept> {
  private readonly views = new Map<string, View>();

  constructor(
    readonly parent: HTMLElement,
    private readonly key: (item: Item, index: number) => string,
    private readonly create: (item: Item) => View,
    private readonly write: (view: View, item: Item, index: number) => void
  ) {}

  get(key: string): View | undefined {
    return this.views.get(key);
  }

  all(): View[] {
    return [...this.views.values()];
  }

  /** Show these items. With `glide`, what changes its place slides there. */
  update(items: readonly Item[], { glide = false } = {}): void {
    const keys = items.map((item, index) => this.key(item, index));
    const focused = this.focused();
    const stays = keys.every((key, index) => this.parent.children[index] === this.views.get(key)?.element);
    // where things stand is only asked when they will move: the browser has to lay out the page for it
    const before =
      glide && !stays && !isCalm() ? new Map(this.all().map(view => [view, view.element.offsetTop])) : null;
    const wanted = new Set(keys);
    for (const [key, view] of this.views) {
      if (!wanted.has(key)) {
        view.element.remove();
        this.views.delete(key);
      }
    }
    items.forEach((item, index) => {
      const key = keys[index] ?? '';
      const view = this.views.get(key) ?? this.create(item);
      this.views.set(key, view);
      const there = this.parent.children[index];
      if (there !== view.element) {
        this.parent.insertBefore(view.element, there ?? null);
      }
      this.write(view, item, index);
    });
    // an element that is moved loses the focus
    if (focused?.isConnected && this.focused() !== focused) {
      focused.focus({ preventScroll: true });
    }
    before?.forEach((top, view) => slide(view.element, top - view.element.offsetTop));
  }

  private focused(): HTMLElement | null {
    const root = this.parent.getRootNode() as Document | ShadowRoot;
    const active = root.activeElement;
    return active instanceof HTMLElement && this.parent.contains(active) ? active : null;
  }
}

/** Whether people asked for less motion. */
export function isCalm(): boolean {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}

function slide(element: HTMLElement, distance: number): void {
  if (distance !== 0 && element.isConnected) {
    element.animate([{ transform: `translateY(${distance}px)` }, { transform: 'none' }], {
      duration: 180,
      easing: 'ease-out'
    });
  }
}
