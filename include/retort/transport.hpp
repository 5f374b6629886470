// SPDX-License-Identifier: BSL-1.0
/// \file
/// Messages between processes.
#pragma once

#include <retort/transport/bytes.hpp>
#include <retort/transport/concept.hpp>
#include <retort/transport/frame.hpp>
#include <retort/transport/local.hpp>
#include <retort/transport/message.hpp>
#include <retort/transport/messenger.hpp>
