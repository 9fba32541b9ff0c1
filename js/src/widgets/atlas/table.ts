/** The rows as a table: as many as there are, of which only those that are seen exist; and a search among them. */

import { freshId, html, set } from '../../lib/elements';
import { toggle } from '../../lib/controls';
import type { Facts } from '../../lib/protocol';
import { count, has, NOTHING, type Bits } from '../../lib/selection';
import { afterQuiet, oncePerFrame } from '../../lib/timing';
import { visible } from '../../lib/tokens';
import { changeBits } from './bits';
import type { Query, Rows } from './rows';
import { Memo, type Hand } from './traits';
import { CHUNK, chunksOf, firstLine, LINE, scrolledHeight, scrolledTo, seenLines } from './windows';
import { cut, rows as rowsInWords } from './words';

const MOST_CHUNKS = 40;
const MOST_AT_ONCE = 5000;
/** Lines that Python gives at once. */
const AT_ONCE = 500;
const LONGEST_CELL = 160;
/** Pixels of the column of row numbers, and of the others. */
const FIRST = 68;
const NARROWEST = 62;
const WIDEST = 230;

export class Table {
  readonly element = html('div', { class: 'atlas-table' });

  private readonly input = html('input', {
    type: 'search',
    class: 'atlas-search',
    placeholder: 'Search the rows',
    'aria-label': 'Search the rows'
  });
  private readonly found = html('span', { class: 'atlas-found', role: 'status' });
  private readonly only: HTMLInputElement;
  private readonly head = html('div', { class: 'atlas-line atlas-head', role: 'row' });
  private readonly body = html('div', { class: 'atlas-lines', role: 'rowgroup' });
  private readonly grid = html('div', {
    class: 'atlas-scroll',
    role: 'grid',
    tabindex: 0,
    'aria-label': 'Rows',
    'aria-multiselectable': 'true'
  });
  private readonly empty = html('p', { class: 'atlas-empty', hidden: '' });
  private readonly lines = new Map<number, HTMLElement>();
  private readonly chunks = new Map<number, Facts[]>();
  private readonly asked = new Set<number>();
  // each widget brings this module along: only chance keeps their names apart
  private readonly name = freshId('table');
  private readonly memo = new Memo();
  private readonly drawSoon: () => void;
  private lastRoom = LINE;
  private readonly fetchSoon: () => void;
  private readonly again: () => void;
  private columns: string[] = [];
  private query = { sort: '', descending: false, picked_only: false, search: '' };
  private version = 0;
  private total = 0;
  private picked: Bits = NOTHING;
  private near: number | null = null;
  private active = 0;
  private anchor = 0;

  constructor(
    private readonly n: number,
    private readonly rows: Rows,
    private readonly hand: Hand,
    private readonly trouble: (error: unknown) => void,
    private readonly signal: AbortSignal
  ) {
    this.only = toggle('Only picked rows', signal, on => this.ask({ picked_only: on }));
    const only = html('label', { class: 'atlas-only' }, this.only, html('span', {}, 'only picked'));
    this.grid.append(html('div', { role: 'rowgroup', class: 'atlas-head-group' }, this.head), this.body);
    this.element.append(
      html('div', { class: 'atlas-table-tools' }, this.input, this.found, only),
      this.grid,
      this.empty
    );
    this.drawSoon = oncePerFrame(() => this.draw(), signal);
    this.fetchSoon = afterQuiet(() => this.fetch(), 40, signal);
    // what is picked changes with every move of a lasso: the table follows once it rests
    this.again = afterQuiet(() => this.ask({}, true), 120, signal);
    this.listen();
  }

  /** Begin: nothing is asked before the table is in the page. */
  start(): void {
    this.ask({});
  }

  update(picked: Bits): void {
    if (this.memo.changed(picked)) {
      this.picked = picked;
      if (this.query.picked_only) {
        this.again();
      }
      this.drawSoon();
    }
  }

  hover(row: number | null): void {
    if (row !== this.near) {
      this.near = row;
      this.drawSoon();
    }
  }

  resize(): void {
    this.drawSoon();
  }

  /** Ask for other lines, or for the same in another order. */
  private ask(change: Partial<typeof this.query>, stay = false): void {
    this.query = { ...this.query, ...change };
    this.version += 1;
    this.chunks.clear();
    this.asked.clear();
    if (!stay) {
      this.grid.scrollTop = 0;
      this.active = this.anchor = 0;
    }
    this.fetch();
  }

  /** Pixels that lines have, below their header. */
  private room(): number {
    // JupyterLab hides the whole page while it changes its theme: the lines are those that will be seen again
    const height = this.grid.clientHeight;
    this.lastRoom = height === 0 ? this.lastRoom : Math.max(LINE, height - LINE);
    return this.lastRoom;
  }

  private seen(): { start: number; stop: number } {
    return seenLines(this.total, this.grid.scrollTop, this.room());
  }

  private fetch(): void {
    const { start, stop } = this.total === 0 ? { start: 0, stop: CHUNK } : this.seen();
    for (const chunk of chunksOf(start, stop)) {
      if (!this.chunks.has(chunk) && !this.asked.has(chunk)) {
        this.asked.add(chunk);
        void this.load(chunk);
      }
    }
  }

  private async load(chunk: number): Promise<void> {
    const { version } = this;
    const query: Query = { ...this.query, start: chunk * CHUNK, stop: (chunk + 1) * CHUNK };
    try {
      const { columns, facts, total } = await this.rows.table(query);
      if (version !== this.version || this.signal.aborted) {
        return;
      }
      this.asked.delete(chunk);
      this.chunks.set(chunk, facts);
      if (this.chunks.size > MOST_CHUNKS) {
        this.chunks.delete(this.chunks.keys().next().value ?? chunk);
      }
      const other = total !== this.total;
      this.total = total;
      this.describe(columns, facts);
      if (other) {
        this.fetch();
      }
      this.drawSoon();
    } catch (error) {
      this.asked.delete(chunk);
      this.trouble(error);
    }
  }

  private describe(columns: string[], facts: readonly Facts[]): void {
    if (columns.join('\n') !== this.columns.join('\n')) {
      this.columns = columns;
      const widths = widthsOf(columns, facts);
      const template = widths.map((width, index) => (index === 0 ? `${width}px` : `minmax(${width}px, ${width}fr)`));
      this.grid.style.setProperty('--template', template.join(' '));
      this.grid.style.setProperty('--least', `${widths.reduce((a, b) => a + b, 0)}px`);
    }
    const { sort, descending } = this.query;
    const heads = ['', ...this.columns].map((name, index) => {
      const shown = index === 0 ? 'row' : visible(name);
      const on = name === sort;
      const arrow = html(
        'span',
        { class: 'atlas-arrow', 'aria-hidden': 'true' },
        on && (index > 0 || descending) ? (descending ? '↓' : '↑') : ''
      );
      const button = html(
        'button',
        { type: 'button', class: 'atlas-sort', tabindex: -1, title: `sort by ${cut(shown)}` },
        cut(shown),
        arrow
      );
      button.addEventListener('click', () => this.sort(name), { signal: this.signal });
      const direction = on ? (descending ? 'descending' : 'ascending') : 'none';
      return html('div', { class: 'atlas-cell', role: 'columnheader', 'aria-sort': direction }, button);
    });
    const focused = [...this.head.children].findIndex(cell => cell.contains(document.activeElement));
    this.head.replaceChildren(...heads);
    heads.forEach(cell => cell.firstElementChild?.setAttribute('tabindex', '0'));
    if (focused >= 0) {
      (heads[focused]?.firstElementChild as HTMLElement | null)?.focus();
    }
    set(this.grid, { 'aria-colcount': this.columns.length + 1, 'aria-rowcount': this.total + 1 });
  }

  /** A second click turns the order round, a third one goes back to the order of the rows. */
  private sort(name: string): void {
    const { sort, descending } = this.query;
    if (sort !== name) {
      this.ask({ sort: name, descending: false });
    } else if (!descending) {
      this.ask({ descending: true });
    } else {
      this.ask({ sort: '', descending: false });
    }
  }

  private at(line: number): Facts | null {
    return this.chunks.get(Math.floor(line / CHUNK))?.[line % CHUNK] ?? null;
  }

  private draw(): void {
    const height = scrolledHeight(this.total);
    this.body.style.height = `${height}px`;
    this.empty.hidden = this.total > 0 || this.chunks.size === 0;
    this.empty.textContent = this.query.picked_only && count(this.picked) === 0 ? 'No row is picked.' : 'No row fits.';
    const { start, stop } = this.seen();
    const room = this.room();
    // a very long table is scrolled in larger steps than its lines are high
    const top = this.grid.scrollTop - firstLine(this.total, this.grid.scrollTop, room) * LINE;
    const shift = height === this.total * LINE ? 0 : top;
    for (const [line, element] of this.lines) {
      if (line < start || line >= stop) {
        element.remove();
        this.lines.delete(line);
      }
    }
    for (let line = start; line < stop; line += 1) {
      this.drawLine(line, shift);
    }
    const active = this.lines.get(this.active);
    set(this.grid, { 'aria-activedescendant': active?.id ?? '' });
    this.fetchSoon();
  }

  private drawLine(line: number, shift: number): void {
    const facts = this.at(line);
    let element = this.lines.get(line);
    if (element === undefined) {
      element = html('div', {
        class: 'atlas-line',
        role: 'row',
        id: `${this.name}-${line}`,
        'aria-rowindex': line + 2
      });
      this.lines.set(line, element);
      this.body.append(element);
    }
    // what was there stays until what comes in its place is known
    const fresh =
      facts !== null && (element.dataset.row !== String(facts.row) || element.dataset.version !== String(this.version));
    if (fresh || !element.hasChildNodes()) {
      element.dataset.row = String(facts?.row ?? '');
      element.dataset.version = String(this.version);
      const cells = facts === null ? ['…'] : [String(facts.row), ...facts.cells];
      element.replaceChildren(
        ...cells.map((cell, index) => {
          const text = visible(cell.slice(0, 2 * LONGEST_CELL));
          const shown = index > 0 && cell === '' ? '' : cut(text, LONGEST_CELL);
          return html('div', { class: 'atlas-cell', role: 'gridcell', title: shown }, shown);
        })
      );
    }
    const row = element.dataset.row === '' ? null : Number(element.dataset.row);
    const on = row !== null && has(this.picked, row);
    element.style.transform = `translateY(${line * LINE + shift}px)`;
    element.setAttribute('aria-selected', String(on));
    element.classList.toggle('atlas-near', row !== null && row === this.near);
    element.classList.toggle('atlas-active', line === this.active);
  }

  private listen(): void {
    const { signal } = this;
    this.grid.addEventListener('scroll', this.drawSoon, { signal, passive: true });
    this.body.addEventListener('click', event => this.click(event), { signal });
    // a range is picked, not the text between two clicks
    this.body.addEventListener('mousedown', event => event.shiftKey && event.preventDefault(), { signal });
    this.body.addEventListener(
      'pointerover',
      event => this.hand.hover(this.at(this.lineOf(event.target))?.row ?? null),
      { signal }
    );
    this.body.addEventListener('pointerleave', () => this.hand.hover(null), { signal });
    this.grid.addEventListener('keydown', event => this.key(event), { signal });
    const search = afterQuiet(() => void this.search(), 220, signal);
    this.input.addEventListener('input', search, { signal });
    this.input.addEventListener(
      'keydown',
      event => {
        if (event.key === 'Enter') {
          void this.search(true);
        } else if (event.key === 'Escape' && this.input.value !== '') {
          this.input.value = '';
          void this.search();
        }
      },
      { signal }
    );
  }

  private async search(pick = false): Promise<void> {
    const text = this.input.value;
    if (text !== this.query.search) {
      this.ask({ search: text });
    }
    if (text === '') {
      this.found.textContent = '';
      return;
    }
    try {
      const matches = await this.rows.search(text);
      if (this.input.value === text && !this.signal.aborted) {
        const number = count(matches);
        this.found.textContent =
          number === 0 ? 'nothing found' : `${rowsInWords(number)} found${pick ? ' and picked' : ', Enter picks them'}`;
        if (pick) {
          this.hand.pick(matches);
        }
      }
    } catch (error) {
      this.trouble(error);
    }
  }

  private lineOf(target: EventTarget | null): number {
    const element = target instanceof Element ? target.closest('.atlas-line') : null;
    return element === null ? -1 : Number(element.id.slice(this.name.length + 1));
  }

  private click(event: MouseEvent): void {
    const line = this.lineOf(event.target);
    const facts = this.at(line);
    if (facts === null) {
      return;
    }
    this.active = line;
    if (event.shiftKey) {
      void this.range(line);
    } else {
      this.anchor = line;
      const toggles = event.ctrlKey || event.metaKey;
      const alone = has(this.picked, facts.row) && count(this.picked) === 1;
      this.hand.pick(
        changeBits(toggles ? this.picked : NOTHING, [facts.row], toggles ? 'toggle' : alone ? 'remove' : 'add', this.n)
      );
    }
    this.drawSoon();
  }

  /** Pick all lines from where the range began to here. */
  private async range(line: number): Promise<void> {
    const [start, last] = [Math.min(this.anchor, line), Math.max(this.anchor, line)];
    if (last - start >= MOST_AT_ONCE) {
      this.trouble(
        new Error(
          `got a range of ${last - start + 1} rows; wanted ${MOST_AT_ONCE} at most: use the histogram or the lasso.`
        )
      );
      return;
    }
    const listed: number[] = [];
    for (let at = start; at <= last; at += 1) {
      const row = this.at(at)?.row;
      if (row !== undefined) {
        listed.push(row);
      }
    }
    if (listed.length < last - start + 1) {
      try {
        listed.length = 0;
        for (let from = start; from <= last; from += AT_ONCE) {
          const { facts } = await this.rows.table({
            ...this.query,
            start: from,
            stop: Math.min(last + 1, from + AT_ONCE)
          });
          listed.push(...facts.map(fact => fact.row));
        }
      } catch (error) {
        this.trouble(error);
        return;
      }
    }
    this.hand.pick(changeBits(NOTHING, listed, 'add', this.n));
  }

  private key(event: KeyboardEvent): void {
    if (event.target !== this.grid || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const page = Math.max(1, Math.floor(this.grid.clientHeight / LINE) - 2);
    const moves: Record<string, number> = {
      ArrowDown: this.active + 1,
      ArrowUp: this.active - 1,
      PageDown: this.active + page,
      PageUp: this.active - page,
      Home: 0,
      End: this.total - 1
    };
    const to = moves[event.key];
    if (to !== undefined && this.total > 0) {
      event.preventDefault();
      this.active = Math.min(this.total - 1, Math.max(0, to));
      this.reveal();
      if (event.shiftKey) {
        void this.range(this.active);
      } else {
        this.anchor = this.active;
        this.hand.hover(this.at(this.active)?.row ?? null);
      }
      this.drawSoon();
      return;
    }
    const facts = this.at(this.active);
    if ((event.key === ' ' || event.key === 'Enter') && facts !== null) {
      event.preventDefault();
      const toggles = event.key === ' ';
      this.anchor = this.active;
      this.hand.pick(changeBits(toggles ? this.picked : NOTHING, [facts.row], toggles ? 'toggle' : 'add', this.n));
    }
  }

  /** Scroll until the active line is seen. */
  private reveal(): void {
    const room = this.room();
    const first = firstLine(this.total, this.grid.scrollTop, room);
    const last = first + room / LINE - 1;
    if (this.active < first) {
      this.grid.scrollTop = scrolledTo(this.total, this.active, room);
    } else if (this.active > last) {
      this.grid.scrollTop = scrolledTo(this.total, this.active - room / LINE + 1, room);
    }
  }
}

/** How many pixels each column needs for what is in the first lines, within reason; that of the row numbers first. */
export function widthsOf(columns: readonly string[], facts: readonly Facts[]): number[] {
  const widths = columns.map((name, index) => {
    const lengths = [name.length + 2, ...facts.map(({ cells }) => cells[index]?.length ?? 0)];
    return Math.min(WIDEST, Math.max(NARROWEST, Math.round(7 * Math.max(...lengths)) + 20));
  });
  return [FIRST, ...widths];
}
