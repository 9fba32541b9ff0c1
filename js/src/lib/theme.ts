/**
 * Colours: Okabe and Ito's, darkened or lightened until text in them can be read on both themes.
 * The same names are CSS variables in the page (`--nbi-ink`) and literals in a saved picture.
 */

export interface Palette {
  ink: string;
  muted: string;
  line: string;
  faint: string;
  surface: string;
  base: string;
  turned: string;
  control: string;
  series: readonly string[];
}

export const LIGHT: Palette = {
  ink: '#1b1f24',
  muted: '#5c636b',
  line: '#c3c8ce',
  faint: '#e7e9ec',
  surface: '#ffffff',
  base: '#5f6771',
  turned: '#0067a3',
  control: '#b54708',
  series: ['#0067a3', '#b54708', '#00785a', '#a8457c', '#7a5c00', '#3a3f9e']
};

export const DARK: Palette = {
  ink: '#f1f3f5',
  muted: '#aeb4bb',
  line: '#565c64',
  faint: '#34383d',
  surface: '#111111',
  base: '#a9b1ba',
  turned: '#5fbcf0',
  control: '#f0a35e',
  series: ['#5fbcf0', '#f0a35e', '#3fcf9f', '#e79ac3', '#e6cf4a', '#a9adff']
};

/** Dash patterns that tell series apart without colour. */
export const DASHES = ['none', '7 3', '2 3', '9 3 2 3', '4 2', '12 4'] as const;

/** Whether JupyterLab, VS Code or marimo shows its dark theme. */
export function isDark(): boolean {
  const { body, documentElement } = document;
  const classes = [...body.classList, ...documentElement.classList];
  return body.dataset.jpThemeLight === 'false' || classes.includes('vscode-dark') || classes.includes('dark');
}

/** Palette entries as CSS declarations. */
function declarations(palette: Palette): string {
  const { series, ...named } = palette;
  const pairs: [string, string][] = [...Object.entries(named), ...series.map((c, i): [string, string] => [`s${i}`, c])];
  return pairs.map(([name, colour]) => `--nbi-${name}:${colour}`).join(';');
}

/** The style sheet that gives every nbinterp widget its colours in both themes. */
function themeSheet(): string {
  const jupyter = '--nbi-ink:var(--jp-content-font-color0,#1b1f24);--nbi-surface:var(--jp-layout-color0,#fff)';
  return (
    `.nbinterp-widget{${declarations(LIGHT)};${jupyter}}` +
    `.nbinterp-widget[data-theme="dark"]{${declarations(DARK)};` +
    `${jupyter.replace('#1b1f24', DARK.ink).replace('#fff', DARK.surface)}}`
  );
}

/** A style element with the colours and a sheet of the widget's own; the root is told the host's theme, also later. */
export function themeStyle(root: HTMLElement, signal: AbortSignal, sheet = ''): HTMLStyleElement {
  // in a shadow root, as marimo makes one, no selector sees the page's body
  const follow = (): void => {
    root.dataset.theme = isDark() ? 'dark' : 'light';
  };
  follow();
  onThemeChange(follow, signal);
  const style = document.createElement('style');
  style.textContent = themeSheet() + sheet;
  return style;
}

/** A style sheet with every colour variable replaced by the palette's literal, for a picture that stands alone. */
export function withLiterals(sheet: string, palette: Palette): string {
  const colours: Record<string, string> = Object.fromEntries(
    declarations(palette)
      .split(';')
      .map(pair => pair.split(':') as [string, string])
  );
  return sheet.replace(/var\((--nbi-\w+)\)/g, (whole, name: string) => colours[name] ?? whole);
}

/** Call `changed` once the host has switched between a light and a dark theme, and shows the page again. */
export function onThemeChange(changed: () => void, signal: AbortSignal): void {
  // JupyterLab hides all of the page until the next frame, which it has asked for by now: nothing has a size before,
  // and what has none is not drawn. Work that already waits for that frame would come too early, hence a request anew
  let frame = 0;
  const observer = new MutationObserver(() => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(changed);
  });
  const watched = { attributes: true, attributeFilter: ['data-jp-theme-light', 'class'] };
  observer.observe(document.body, watched);
  observer.observe(document.documentElement, watched);
  signal.addEventListener('abort', () => {
    observer.disconnect();
    cancelAnimationFrame(frame);
  });
}
