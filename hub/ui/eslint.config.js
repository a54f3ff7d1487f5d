import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["*.config.*"] },
  js.configs.recommended,
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // what an answer holds is said where it is asked for: api.get<Session[]>("sessions")
      "@typescript-eslint/no-unnecessary-type-parameters": "off",
      "max-lines": ["error", 500],
      "max-lines-per-function": ["error", { max: 50, skipBlankLines: true, skipComments: true }],
      // The pages have no inline script, and text of people never becomes HTML.
      "no-restricted-properties": [
        "error",
        ...["innerHTML", "outerHTML", "insertAdjacentHTML"].map((property) => ({ property })),
      ],
      "no-restricted-globals": ["error", { name: "fetch", message: "Use lib/api: it has a time limit." }],
      "no-eval": "error",
      eqeqeq: "error",
    },
  },
  { files: ["src/lib/api.ts"], rules: { "no-restricted-globals": "off" } },
);
