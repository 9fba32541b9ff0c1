/** The nodes of a circuit as a list: what the picture shows, for the keyboard and for those who do not see it. */

import { html } from '../../lib/elements';
import { signed } from '../../lib/grid/heat';
import { visible } from '../../lib/tokens';
import type { NodeFacts } from './moment';

export class NodeList {
  readonly element = html('div', { class: 'nbi-circuit-list' });

  private readonly list = html('ol', {
    class: 'nbi-circuit-nodes',
    'aria-label': 'Nodes of the circuit, strongest first'
  });
  private shown: readonly NodeFacts[] = [];
  private current = -1;

  constructor(
    /** The node under the hand, or none. */
    hover: (node: number | null) => void,
    pick: (node: number, add: boolean) => void,
    signal: AbortSignal
  ) {
    this.element.append(html('h4', {}, 'Nodes'), this.list);
    const listen = { signal };
    const nodeOf = (event: Event): number | null => {
      const index = (event.target as Element).closest<HTMLElement>('[data-node]')?.dataset.node;
      return index === undefined ? null : Number(index);
    };
    this.list.addEventListener('pointerover', event => hover(nodeOf(event)), listen);
    this.list.addEventListener('pointerleave', () => hover(null), listen);
    this.list.addEventListener('focusin', event => hover(nodeOf(event)), listen);
    this.list.addEventListener('focusout', () => hover(null), listen);
    this.list.addEventListener(
      'click',
      event => {
        const node = nodeOf(event);
        if (node !== null) {
          pick(node, event.shiftKey || event.ctrlKey || event.metaKey);
        }
      },
      listen
    );
    this.list.addEventListener('keydown', event => this.onKey(event), listen);
  }

  /** Show these nodes; `acted` are those on which a followed Playground acts. */
  update(nodes: readonly NodeFacts[], picked: ReadonlySet<number>, acted: ReadonlySet<number>): void {
    const order = nodes
      .filter(({ node }) => node.kind !== 'logits')
      .sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
    const keyOf = (all: readonly NodeFacts[]): string => all.map(({ index, score }) => `${index} ${score}`).join();
    const same = keyOf(order) === keyOf(this.shown);
    if (!same) {
      const focused = this.buttons().find(button => button.matches(':focus'))?.dataset.node;
      this.shown = order;
      this.list.replaceChildren(...order.map(facts => html('li', {}, this.button(facts))));
      const stays = order.findIndex(({ index }) => String(index) === focused);
      this.goTo(Math.max(0, stays), focused !== undefined);
    }
    this.buttons().forEach(button => {
      const index = Number(button.dataset.node);
      button.setAttribute('aria-pressed', String(picked.has(index)));
      const note = button.querySelector('.nbi-circuit-acted');
      if (note !== null) {
        note.textContent = acted.has(index) ? 'changed in the Playground' : '';
      }
    });
  }

  private button({ index, node, into, from, score }: NodeFacts): HTMLButtonElement {
    const pressable = node.kind === 'head' || node.kind === 'mlp';
    return html(
      'button',
      {
        ...{ type: 'button', class: 'nbi-circuit-node', 'data-node': index, tabindex: -1, 'aria-pressed': 'false' },
        ...(pressable ? {} : { 'aria-disabled': 'true' })
      },
      html('span', { class: 'nbi-circuit-name' }, visible(node.name)),
      html('span', { class: 'nbi-circuit-score' }, signed(score)),
      html('span', { class: 'nbi-circuit-counts' }, `${into} in, ${from} out`),
      html('span', { class: 'nbi-circuit-acted' })
    );
  }

  private buttons(): HTMLButtonElement[] {
    return [...this.list.querySelectorAll<HTMLButtonElement>('button')];
  }

  private goTo(at: number, focus: boolean): void {
    this.current = at;
    this.buttons().forEach((button, index) => {
      button.tabIndex = index === at ? 0 : -1;
      if (index === at && focus) {
        button.focus();
      }
    });
  }

  private onKey(event: KeyboardEvent): void {
    const last = this.shown.length - 1;
    const moves: Record<string, number> = {
      ...{ ArrowDown: this.current + 1, ArrowUp: this.current - 1, Home: 0, End: last },
      ...{ PageDown: this.current + 10, PageUp: this.current - 10 }
    };
    const to = moves[event.key];
    if (to !== undefined && last >= 0) {
      event.preventDefault();
      this.goTo(Math.min(last, Math.max(0, to)), true);
    }
  }
}
