declare module '*.figure.css' {
  /** The style sheet as text. */
  const text: string;
  export default text;
}

declare module '*.css';

/** A widget's own bundle, built before the extension is. */
declare module '*/static/dial.js' {
  const widget: import('@anywidget/types').AnyWidget;
  export default widget;
}

declare module '*/static/atlas.js' {
  const widget: import('@anywidget/types').AnyWidget;
  export default widget;
}

declare module '*/static/playground.js' {
  const widget: import('@anywidget/types').AnyWidget;
  export default widget;
}

declare module '*/static/scatter.js' {
  const widget: import('@anywidget/types').AnyWidget;
  export default widget;
}

declare module '*/static/attention.js' {
  const widget: import('@anywidget/types').AnyWidget;
  export default widget;
}

declare module '*/static/circuit.js' {
  const widget: import('@anywidget/types').AnyWidget;
  export default widget;
}

declare module '*/static/grid.js' {
  const widget: import('@anywidget/types').AnyWidget;
  export default widget;
}
