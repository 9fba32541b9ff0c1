/** A linked chart: an altair chart whose selections reach Python, drawn without any address outside. */

import { lifeOf, onChange } from '../lib/life';
import type { RenderProps } from '@anywidget/types';
import { None, parse, View, type Spec } from 'vega';
import { expressionInterpreter } from 'vega-interpreter';
import { compile, type TopLevelSpec } from 'vega-lite';
import { Handler } from 'vega-tooltip';
import { html } from '../lib/elements';
import { changeSelection, count, NOTHING, readSelection, toRows, type SelectionTraits } from '../lib/selection';
import { figure, svgAddress, type Pictured } from '../lib/picture';
import { isDark, onThemeChange, themeStyle } from '../lib/theme';
import { afterQuiet, oncePerFrame } from '../lib/timing';
import './chart/chart.css';
import { closedLoader } from './chart/loader';
import { applyTheme, colourParameters, inLight, palette, themeConfig } from './chart/look';
import { numbersElement, numbersOf, type Numbers } from './chart/numbers';
import { PICKED, pickedBy, showPicked } from './chart/rows';
import { selectionNames, selectionValue, type Selections } from './chart/selections';

interface ChartTraits extends SelectionTraits {
  spec: Record<string, unknown>;
  selections: Selections;
  description: string;
  /** The field that says which row a mark is; empty where the chart takes part in no shared selection. */
  row_field: string;
  /** The numbers in words, where Python gave a table; without columns they are the chart's own. */
  table: Numbers;
}

/** Above this length an SVG picture would weigh more than the picture of its pixels. */
const LONGEST_SVG = 400_000;

function render({ model, el, signal }: RenderProps<ChartTraits>): () => void {
  const life = lifeOf(el, signal);
  const root: Pictured = el;
  root.classList.add('nbinterp-widget', 'nbinterp-chart');
  const canvas = html('div', { class: 'nbi-canvas' });
  const problem = html('p', { class: 'nbi-problem', role: 'alert' });
  const numbers = (): Numbers | null => {
    const table = model.get('table');
    return table.columns.length > 0 ? table : numbersOf(model.get('spec'));
  };
  root.replaceChildren(themeStyle(root, life.signal), canvas, numbersElement(numbers, life.signal), problem);

  let view: View | null = null;
  let names: string[] = [];
  /** The data sets of the drawn chart. */
  let data: string[] = [];
  /** How many pictures of what was picked elsewhere are being drawn. */
  let showing = 0;
  /** The selection that the hand changed last. */
  let moved: string | null = null;
  /** The chart as SVG; null from a change until it was drawn anew. */
  let drawing: string | null = null;

  const redrawPicture = afterQuiet(
    () => {
      const drawn = view;
      void drawn?.toSVG().then(
        source => (drawing = drawn === view ? source : drawing),
        () => undefined
      );
    },
    400,
    life.signal
  );
  const pictureChanged = (): void => {
    drawing = null;
    redrawPicture();
  };
  const tellPython = oncePerFrame(() => {
    const drawn = view;
    if (drawn === null) {
      return;
    }
    const own = names.filter(name => name !== PICKED);
    const values = own.map(name => [name, selectionValue(drawn.signal(name))] as const);
    // what Vega hands out has getters and sets of its own
    const selections = JSON.parse(
      JSON.stringify(Object.fromEntries(values.filter(([, value]) => value !== null)))
    ) as Selections;
    root.dataset.selections = JSON.stringify(selections);
    if (JSON.stringify(model.get('selections')) !== JSON.stringify(selections)) {
      model.set('selections', selections);
      model.save_changes();
    }
  }, life.signal);

  /** What is picked here is picked everywhere: the selection that moved last says it, or one that still holds something. */
  const shareRows = oncePerFrame(() => {
    const drawn = view;
    const field = model.get('row_field');
    if (drawn === null || field === '' || moved === null) {
      return;
    }
    // the click that ends a drag beside all marks empties the selection by click, and means nothing
    const held = [moved, ...names].map(name => pickedBy(drawn, name, data, field));
    const rows = held.find(one => one !== null) ?? NOTHING;
    if (toRows(rows).join() === toRows(readSelection(model).rows).join()) {
      showRows();
    } else {
      changeSelection(model, { rows });
      model.save_changes();
    }
  }, life.signal);
  const showRows = (): void => {
    const { rows } = readSelection(model);
    root.dataset.picked = String(count(rows));
    if (view !== null && model.get('row_field') !== '') {
      // rows that this chart does not draw stay picked elsewhere: what is shown here is not picked here
      showing += 1;
      showPicked(view, rows, model.get('row_field'));
      void view.runAsync().finally(() => (showing -= 1));
      pictureChanged();
    }
  };

  const draw = async (): Promise<void> => {
    view?.finalize();
    view = null;
    drawing = null;
    root.dataset.drawn = 'false';
    problem.textContent = '';
    try {
      const spec = model.get('spec');
      root.classList.toggle('nbi-wide', spec.width === 'container');
      const given = Array.isArray(spec.params) ? (spec.params as unknown[]) : [];
      const withColours = { ...spec, params: [...given, ...colourParameters()] } as unknown as TopLevelSpec;
      const compiled: Spec = compile(withColours, { config: themeConfig() }).spec;
      const fresh = new View(parse(compiled, undefined, { ast: true }), {
        container: canvas,
        renderer: 'canvas',
        expr: expressionInterpreter,
        hover: true,
        loader: closedLoader(text => (problem.textContent = text)),
        logLevel: None,
        tooltip: (handler, event, item, value) =>
          new Handler({ theme: isDark() ? 'dark' : 'light' }).call(handler, event, item, value)
      });
      view = fresh;
      names = selectionNames(spec);
      data = (compiled.data ?? []).map(one => one.name);
      for (const name of names) {
        fresh.addSignalListener(name, () => {
          tellPython();
          if (showing === 0 || name !== PICKED) {
            moved = name;
            shareRows();
          }
          pictureChanged();
        });
      }
      await fresh.runAsync();
      showRows();
      describe();
      root.dataset.drawn = 'true';
      tellPython();
      pictureChanged();
    } catch (error) {
      problem.textContent = `This chart cannot be drawn: ${error instanceof Error ? error.message : String(error)}`;
    }
  };
  const describe = (): void => {
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', model.get('description'));
  };
  const redraw = (): void => void draw();

  onChange(model, ['spec'], redraw, life.signal);
  onChange(model, ['description'], describe, life.signal);
  onChange(model, ['selection'], showRows, life.signal);
  onThemeChange(() => {
    if (view !== null) {
      const drawn = view;
      applyTheme((name, value) => drawn.signal(name, value));
      void drawn.runAsync();
      pictureChanged();
    }
  }, life.signal);
  life.signal.addEventListener('abort', () => {
    view?.finalize();
    view = null;
  });
  // Vega-Lite would only look at its container again when the whole window changes
  const size = new ResizeObserver(() => {
    if (view !== null && root.classList.contains('nbi-wide') && canvas.clientWidth > 0) {
      void view.signal('width', canvas.clientWidth).runAsync();
      pictureChanged();
    }
  });
  size.observe(root);
  life.signal.addEventListener('abort', () => size.disconnect());
  root.nbinterpPicture = () => {
    const address =
      drawing !== null && drawing.length <= LONGEST_SVG
        ? svgAddress(inLight(drawing))
        : pixels(canvas.querySelector('canvas'));
    return address === null ? null : figure(address, model.get('description'), null);
  };
  redraw();
  return () => life.abort();
}

/** The canvas as it is, on the theme's ground. */
function pixels(live: HTMLCanvasElement | null): string | null {
  const copy = html('canvas', { width: live?.width ?? 0, height: live?.height ?? 0 });
  const context = copy.getContext('2d');
  if (live === null || context === null || live.width === 0) {
    return null;
  }
  context.fillStyle = palette().surface;
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(live, 0, 0);
  return copy.toDataURL('image/png');
}

export default { render };
