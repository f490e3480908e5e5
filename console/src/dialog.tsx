// A question before something is done: what it does, who is named, and what is wrong.

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

interface Props {
  title: string;
  says?: string | undefined;
  button: string;
  danger?: boolean;
  disabled?: boolean;
  /** Says who is named. */
  note: string;
  children?: ComponentChildren;
  /** Does it; what it raises is shown, and the question stays. */
  send: () => Promise<void>;
  close: () => void;
}

/** Of what is shown beside who has done it, and stands in no history. */
export const shownBy = (by: string) => `It is shown who has done it: ${by}.`;

export function Question({ title, says, button, danger, disabled, note, children, send, close }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  // At once, so that the very next key is for the question.
  useLayoutEffect(() => dialog.current?.showModal(), []);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setProblem("");
    try {
      await send();
    } catch (error) {
      setBusy(false);
      setProblem((error as Error).message);
    }
  };
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="dialog-title">
      <form onSubmit={submit}>
        <h2 id="dialog-title">{title}</h2>
        {says && <p>{says}</p>}
        {children}
        <p class="note">{note}</p>
        {problem && (
          <p class="wrong" role="alert">
            {problem}
          </p>
        )}
        <div class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            Not now
          </button>
          <button type="submit" class={danger ? "danger" : "primary"} disabled={busy || disabled}>
            {busy ? "Sending…" : button}
          </button>
        </div>
      </form>
    </dialog>
  );
}
