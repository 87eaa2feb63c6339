// SPDX-License-Identifier: MIT
// HTTP/1.1: a server, and what messages are made of. Needs llhttp (weft::http in CMake); no other
// header of weft knows this room.
#pragma once

#include "http/accept_websocket.hpp"
#include "http/body.hpp"
#include "http/body_reader.hpp"
#include "http/client.hpp"
#include "http/client_options.hpp"
#include "http/connect_websocket.hpp"
#include "http/files.hpp"
#include "http/headers.hpp"
#include "http/http_error.hpp"
#include "http/protocol_error.hpp"
#include "http/request.hpp"
#include "http/response.hpp"
#include "http/router.hpp"
#include "http/server.hpp"
#include "http/server_options.hpp"
#include "http/server_sent_events.hpp"
#include "http/status.hpp"
#include "http/url.hpp"
#include "http/websocket.hpp"
#include "http/websocket_error.hpp"
#include "http/websocket_options.hpp"
