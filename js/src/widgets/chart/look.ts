/** A chart in JupyterLab's theme: colours are signals, so that a change of theme keeps what is selected. */

import { DARK, isDark, LIGHT, type Palette } from '../../lib/theme';

const NAMES = ['ink', 'muted', 'line', 'faint'] as const;
type Name = (typeof NAMES)[number];

const signalName = (name: Name): string => `nbi_${name}`;
const colour = (name: Name): { expr: string } => ({ expr: signalName(name) });

/** The palette of the theme that is on. */
export function palette(): Palette {
  return isDark() ? DARK : LIGHT;
}

/** Colour parameters of the palette, for the top of a specification. */
export function colourParameters(): { name: string; value: string }[] {
  return NAMES.map(name => ({ name: signalName(name), value: palette()[name] }));
}

/** Give the colours of the theme that is on to a chart that is drawn. */
export function applyTheme(signal: (name: string, value: string) => unknown): void {
  for (const { name, value } of colourParameters()) {
    signal(name, value);
  }
}

/** Vega-Lite configuration below the chart's own. */
export function themeConfig(): Record<string, unknown> {
  const text = { labelColor: colour('muted'), titleColor: colour('ink') };
  const font = 'system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif';
  return {
    background: 'transparent',
    font,
    view: { stroke: colour('faint') },
    axis: { ...text, domainColor: colour('line'), tickColor: colour('line'), gridColor: colour('faint') },
    legend: text,
    header: text,
    title: { color: colour('ink'), subtitleColor: colour('muted') },
    text: { color: colour('ink') },
    rule: { color: colour('muted') }
  };
}

/** The light palette in the place of the dark one, for a picture that is looked at on white. */
export function inLight(source: string): string {
  const light = NAMES.reduce((text, name) => text.replaceAll(DARK[name], LIGHT[name]), source);
  return light.replace(/<svg[^>]*>/, start => `${start}<rect width="100%" height="100%" fill="${LIGHT.surface}"/>`);
}
