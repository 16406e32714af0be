/** Give React 18 to the packages in `node_modules`, which Node loads itself: React DOM 18 and Testing Library. */

import Module from "node:module";

const resolve = Module._resolveFilename;

Module._resolveFilename = function (request, ...rest) {
  return resolve.call(this, request.replace(/^(react|react-dom)($|\/)/, "$1-18$2"), ...rest);
};
