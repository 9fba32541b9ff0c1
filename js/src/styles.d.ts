declare module '*.figure.css' {
  /** The style sheet as text. */
  const text: string;
  export default text;
}

declare module '*.css';
