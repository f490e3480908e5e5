import { render } from "preact";
import { takeKey } from "./api";
import { App } from "./app";

takeKey();
render(<App />, document.getElementById("app") as HTMLElement);
