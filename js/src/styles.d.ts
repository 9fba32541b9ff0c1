declare module '*.figure.css' {
  /** The style sheet as text. */
  const text: string;
  export default text;
}

declare module '*.css';

/** A widget's own bundle in nbinterp/static, built before the extension is. */
declare module '*.js' {
  const widget: import('@anywidget/types').AnyWidget;
  export default widget;
}
