/** All panes of the atlas on one desk: what is picked, hovered or chosen in one shows in all, within a frame. */

import { Asking } from '../../lib/asking';
import { html } from '../../lib/elements';
import { onChange } from '../../lib/life';
import type { Pictured } from '../../lib/picture';
import { Progress } from '../../lib/progress';
import type { Again, Column, Feature } from '../../lib/protocol';
import { Legend } from '../../lib/scatter/legend';
import { Scatter } from '../../lib/scatter/scatter';
import { changeSelection, count, fromRows, NOTHING, readSelection, type Bits } from '../../lib/selection';
import { isStill, keepState } from '../../lib/still';
import { oncePerFrame, promptly } from '../../lib/timing';
import { visible } from '../../lib/tokens';
import { Beside, findModel, type FindModel } from './again';
import { sameBits } from './bits';
import { Claims } from './claims';
import { named, numbersOf } from './columns';
import { Histogram } from './histogram';
import { Layers } from './layers';
import { Persistence } from './persistence';
import { PickBar } from './pickbar';
import { atlasPicture } from './picture';
import { Places } from './places';
import { AskedRows, StoredRows, type Rows } from './rows';
import { shared } from './sharing';
import { Table } from './table';
import { Toolbar } from './toolbar';
import { filled, Memo, type AtlasModel, type AtlasTraits, type Hand } from './traits';
import { Choice } from './choice';
import { cut, rows as rowsInWords } from './words';

const TRAITS = [
  ...(['spec', 'columns', 'view', 'positions', 'shapes', 'claims', 'looks', 'again'] as const),
  ...(['selection', 'playground', 'task', 'problem'] as const)
];
const TOLD_COLUMNS = 8;
const MOST_KEPT = 1_500_000;

export class Desk implements Hand {
  private readonly n: number;
  private readonly still: boolean;
  private readonly asking: Asking;
  private readonly rows: Rows;
  private readonly scatter: Scatter;
  private readonly legend: Legend;
  private readonly toolbar: Toolbar;
  private readonly layers: Layers;
  private readonly persistence: Persistence;
  private readonly histogram: Histogram;
  private readonly counted: Choice;
  private readonly bar: PickBar;
  private readonly table: Table;
  private readonly claims: Claims;
  private readonly beside: Beside;
  private readonly progress: Progress;
  private readonly title = html('h2', { class: 'atlas-title' });
  private readonly size = html('span', { class: 'atlas-size' });
  private readonly note = html('p', { class: 'atlas-note' });
  private readonly problem = html('p', { class: 'atlas-problem', role: 'alert' });

  private readonly save: () => void;
  private readonly redrawSoon: () => void;
  private readonly placed = new Memo();
  private readonly coloured = new Memo();
  private readonly selected = new Memo();
  private readonly ghosted = new Memo();
  private picked: Bits = NOTHING;
  private pickedAs: unknown = null;
  private chosen: Feature | null = null;
  private chosenWith: Bits = NOTHING;
  private readonly known = new Map<string, Places>();
  private places: Places | null = null;
  private flat: { key: readonly unknown[]; xy: Float32Array } | null = null;
  private local = '';

  constructor(
    private readonly model: AtlasModel,
    private readonly root: Pictured,
    host: { host?: { getModel?: FindModel } },
    private readonly signal: AbortSignal
  ) {
    const { n, model: name } = model.get('spec');
    this.n = n;
    this.still = isStill(model);
    this.save = promptly(() => model.save_changes(), signal);
    this.redrawSoon = oncePerFrame(() => this.redraw(), signal);
    this.asking = new Asking(model, signal);
    const stored = (): Column[] => model.get('columns');
    this.rows = this.still ? new StoredRows(n, stored, () => this.picked) : new AskedRows(this.asking);

    this.scatter = new Scatter(
      n,
      { pick: bits => this.pick(bits), hover: row => this.hover(row), describe: row => this.describe(row) },
      signal
    );
    this.legend = new Legend(bits => this.pick(bits), signal);
    this.toolbar = new Toolbar(this, this.still, signal);
    this.layers = new Layers(
      place => this.moveTo(place),
      site => this.view({ site }),
      signal
    );
    this.persistence = new Persistence(this, feature => this.choose(feature), signal);
    this.histogram = new Histogram(this, signal);
    this.counted = new Choice('of', 'of which column', histogram => this.view({ histogram }), signal);
    this.bar = new PickBar(n, this, (kind, column) => this.ask('make', { kind, column, name: '' }), this.still, signal);
    this.table = new Table(n, this.rows, this, error => this.trouble(error), signal);
    this.claims = new Claims(
      {
        steer: (claim, how) => this.ask('steer', { claim: claim.id, how }),
        drop: claim => this.ask('drop', { claim: claim.id })
      },
      { steers: name !== '', still: this.still },
      signal
    );
    this.beside = new Beside(
      findModel(model, host.host),
      () => this.ask('collect', {}),
      () => this.redrawSoon(),
      this.still,
      signal
    );
    this.progress = new Progress(() => this.ask('stop', {}), signal);
    this.arrange();
  }

  /** Draw for the first time, and from now on whenever something changes. */
  start(): void {
    const { model, signal, root } = this;
    onChange(model, TRAITS, this.redrawSoon, signal);
    const fit = oncePerFrame(() => {
      this.persistence.resize();
      this.histogram.resize(this.histogram.element.clientWidth);
      this.table.resize();
    }, signal);
    const size = new ResizeObserver(fit);
    [this.persistence.element, this.histogram.element, this.table.element].forEach(element => size.observe(element));
    signal.addEventListener('abort', () => size.disconnect());
    keepState<AtlasTraits>(root, model, this.kept(), ['view', 'selection']);
    root.nbinterpPicture = () => this.picture();
    this.layers.begin(model.get('spec').sites, model.get('view').site);
    this.redraw();
    this.table.start();
  }

  /** What the notebook file keeps of the atlas: of a large cloud only what the hand did. */
  private kept(): (keyof AtlasTraits)[] {
    const { spec, columns } = { spec: this.model.get('spec'), columns: this.model.get('columns') };
    const bytes = 4 * spec.n * (2 * Math.max(1, spec.sites.length) + columns.length);
    const small = TRAITS.filter(trait => trait !== 'task' && trait !== 'playground');
    return bytes <= MOST_KEPT ? small : ['view', 'selection'];
  }

  pick(bits: Bits): void {
    this.forget();
    changeSelection(this.model, { rows: bits });
    this.save();
    this.redrawSoon();
  }

  hover(row: number | null): void {
    this.table.hover(row);
    this.histogram.hover(row);
    this.persistence.hover(row);
    this.point(row);
  }

  preview(feature: Feature | null): void {
    const shown = feature ?? this.chosen;
    this.scatter.light(shown?.rows ?? [], shown?.dimension === 1);
  }

  view(change: Partial<AtlasTraits['view']>): void {
    this.forget();
    this.model.set('view', { ...this.model.get('view'), ...change });
    this.save();
    this.redrawSoon();
  }

  /** Light one row that is under the hand in another pane. */
  private point(row: number | null): void {
    if (row === null) {
      this.preview(null);
    } else {
      this.scatter.light([row], false);
    }
  }

  private choose(feature: Feature | null): void {
    this.pick(feature === null ? NOTHING : fromRows(feature.rows));
    this.chosen = feature;
    this.chosenWith = feature === null ? NOTHING : fromRows(feature.rows);
    this.preview(null);
  }

  private ask(what: string, details: object): void {
    this.forget();
    this.asking.ask(what, details).catch((error: unknown) => this.trouble(error));
  }

  /** What went wrong at the last step is no longer of interest at the next one. */
  private forget(): void {
    if (this.local !== '') {
      this.local = '';
      this.redrawSoon();
    }
  }

  private trouble(error: unknown): void {
    this.local = error instanceof Error ? error.message : String(error);
    this.redrawSoon();
  }

  private async describe(row: number): Promise<string[]> {
    try {
      const { columns, facts } = await this.rows.facts([row]);
      const cells = facts[0]?.cells ?? [];
      const lines = cells.slice(0, TOLD_COLUMNS).map((cell, index) => {
        return `${cut(columns[index] ?? '', 24)}: ${cell === '' ? '–' : cut(cell, 60)}`;
      });
      return [`row ${row}`, ...lines];
    } catch {
      return [`row ${row}`];
    }
  }

  private arrange(): void {
    const pane = (name: string, kind: string, ...children: (Node | string)[]): HTMLElement =>
      html('section', { class: `atlas-pane ${kind}`, 'aria-label': name }, ...children);
    const heading = (...words: (Node | string)[]): HTMLElement => html('h3', { class: 'atlas-heading' }, ...words);
    const stage = html('div', { class: 'atlas-stage' }, this.scatter.element);
    this.root.append(
      html('header', { class: 'atlas-header' }, this.title, this.size, this.progress.element),
      this.problem,
      html(
        'div',
        { class: 'atlas-charts' },
        pane('Scatter', 'atlas-main', this.toolbar.element, stage, this.layers.element, this.legend.element, this.note),
        html(
          'div',
          { class: 'atlas-side' },
          pane('Shape', 'atlas-shape', heading('Shape'), this.persistence.element),
          pane(
            'Histogram',
            'atlas-counts',
            html('div', { class: 'atlas-pane-head' }, heading('Histogram'), this.counted.element),
            this.histogram.element
          )
        )
      ),
      this.bar.element,
      html(
        'div',
        { class: 'atlas-below' },
        pane('Table', 'atlas-rows', this.table.element),
        pane('Claims', 'atlas-claimed', heading('Claims'), this.claims.element)
      ),
      this.beside.element
    );
  }

  /** What is picked, as the same bytes for as long as the same rows are. */
  private readPicked(): Bits {
    const now = this.model.get('selection');
    if (now !== this.pickedAs) {
      this.pickedAs = now;
      const bits = readSelection(this.model).rows;
      // Python echoes what the page has set: nothing is to be drawn again for that
      this.picked = sameBits(bits, this.picked) ? this.picked : bits;
    }
    return this.picked;
  }

  private redraw(): void {
    const { model } = this;
    const [spec, view, columns] = [model.get('spec'), model.get('view'), model.get('columns')];
    const shapes = filled(model.get('shapes'), 'features');
    const again = filled(model.get('again'), 'xy');
    const shown = this.shownAgain();
    const task = filled(model.get('task'), 'name');
    const picked = this.readPicked();
    if (
      this.chosen !== null &&
      (!sameBits(picked, this.chosenWith) || shapes?.features.includes(this.chosen) !== true)
    ) {
      this.chosen = null;
      this.preview(null);
    }
    const colour = named(columns, view.color);
    this.title.textContent = visible(spec.title === '' ? 'Atlas' : spec.title);
    this.size.textContent = rowsInWords(spec.n);
    this.toolbar.update(spec, view, columns, filled(model.get('positions'), 'xy')?.layout ?? '');
    this.layers.update(spec.sites, view.site);
    this.place(view);
    if (this.coloured.changed(colour)) {
      this.scatter.colour(colour);
    }
    if (this.selected.changed(picked)) {
      this.scatter.select(picked);
    }
    this.legend.update(colour, picked);
    this.persistence.update(shapes, shapes === null || shapes.site === view.site, picked, this.chosen?.id ?? null);
    const names = columns.map(column => ({ value: column.name, text: column.name }));
    this.counted.update(names, view.histogram);
    this.histogram.update(named(columns, view.histogram), picked);
    this.bar.update(picked, colour, columns);
    this.table.update(picked);
    this.claims.update(model.get('claims'), model.get('looks'));
    this.beside.update(model.get('playground'), again);
    if (this.ghosted.changed(shown)) {
      this.scatter.ghost(
        shown === null ? null : new Places({ ...shown, sites: [0], x: '', y: '', note: '' }, this.n).of(0),
        shown?.what
      );
    }
    this.progress.update(task);
    this.root.setAttribute('aria-busy', String(task !== null));
    const trouble = this.local === '' ? model.get('problem') : this.local;
    // an alert is only read aloud when its text changes
    if (this.problem.textContent !== visible(trouble) || trouble === '') {
      this.problem.textContent = trouble === '' ? '' : visible(trouble);
    }
    this.sign(picked, shapes?.verdict ?? '');
  }

  /** What was collected again, where it is seen beside the cloud. */
  private shownAgain(): Again | null {
    const [again, view] = [filled(this.model.get('again'), 'xy'), this.model.get('view')];
    const here = again !== null && again.layout === view.layout && again.site === view.site;
    return here && this.beside.showsGhost ? again : null;
  }

  /** What tests and scripts read. */
  private sign(picked: Bits, verdict: string): void {
    const view = this.model.get('view');
    const { dataset } = this.root;
    dataset.picked = String(count(picked));
    dataset.layout = view.layout;
    dataset.site = String(view.site);
    dataset.claims = String(this.model.get('claims').length);
    dataset.loops = verdict;
    dataset.ready = String(this.places !== null || this.flat !== null);
  }

  /** Two columns of numbers are a layout that needs no Python. */
  private columnsAsPlaces(view: AtlasTraits['view'], columns: readonly Column[]): Float32Array | null {
    const [x, y] = [named(columns, view.x), named(columns, view.y)];
    if (view.layout !== 'columns' || x?.kind !== 'number' || y?.kind !== 'number') {
      return null;
    }
    if (this.flat?.key[0] !== x || this.flat.key[1] !== y) {
      const xy = new Float32Array(2 * this.n);
      const [across, up] = [numbersOf(x), numbersOf(y)];
      for (let row = 0; row < this.n; row += 1) {
        xy[2 * row] = across[row] ?? NaN;
        xy[2 * row + 1] = up[row] ?? NaN;
      }
      this.flat = { key: [x, y], xy };
    }
    return this.flat.xy;
  }

  private place(view: AtlasTraits['view']): void {
    const positions = filled(this.model.get('positions'), 'xy');
    if (positions !== null && positions !== this.known.get(positions.layout)?.positions) {
      this.known.set(positions.layout, new Places(positions, this.n));
    }
    // a layout that was shown before is shown at once, until Python has the one for these settings
    this.places = this.known.get(view.layout) ?? this.known.get(positions?.layout ?? '') ?? null;
    const shown = this.places?.positions;
    const flat = this.columnsAsPlaces(view, this.model.get('columns'));
    const moving = flat === null && shown !== undefined && shown.layout !== view.layout;
    this.root.classList.toggle('atlas-moving', moving);
    if (!this.placed.changed(flat, this.places)) {
      return;
    }
    const described = this.model.get('spec').layouts.find(one => one.name === shown?.layout);
    if (flat === null) {
      this.scatter.axes(shown?.x ?? described?.x ?? '', shown?.y ?? described?.y ?? '');
      this.moveTo(this.layers.place, true);
    } else {
      this.scatter.axes(view.x, view.y);
      this.scatter.place(flat);
    }
    const note = flat === null ? (shown?.note ?? described?.note ?? '') : 'two columns of the table';
    this.note.textContent = note === '' ? '' : visible(note);
  }

  /** Show the cloud at a place between two sites. */
  private moveTo(place: number, smoothly = false): void {
    if (this.model.get('view').layout === 'columns' && this.flat !== null) {
      return;
    }
    const between = this.places?.between(place) ?? null;
    if (between === null) {
      return;
    }
    if (smoothly) {
      this.scatter.place(between.share < 0.5 ? between.from : between.to);
    } else {
      // the slider itself moves smoothly: the cloud is where the hand is
      this.scatter.between(between.from, between.to, between.share);
    }
  }

  private picture(): string {
    // what was set in this very frame belongs into the picture
    this.redraw();
    const { model } = this;
    const [spec, view, columns] = [model.get('spec'), model.get('view'), model.get('columns')];
    const colour = named(columns, view.color);
    return atlasPicture({
      title: spec.title === '' ? 'Atlas' : spec.title,
      n: spec.n,
      picked: count(this.picked),
      sharing: colour === null || count(this.picked) === 0 ? '' : shared(colour, this.picked),
      layout: view.layout,
      colour: view.color,
      site: spec.sites[view.site] ?? '',
      shapes: filled(model.get('shapes'), 'features'),
      claims: model.get('claims'),
      looks: model.get('looks'),
      again: this.shownAgain(),
      scatter: this.scatter.picture(),
      drawings:
        filled(model.get('shapes'), 'features') === null ? [] : [this.persistence.diagram, this.persistence.barcode]
    });
  }
}
