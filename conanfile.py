# SPDX-License-Identifier: BSL-1.0
"""Conan 2 recipe of retort, a header-only library."""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir

required_conan_version = ">=2.0"


class RetortConan(ConanFile):
    name = "retort"
    description = "Knowledge distillation for LibTorch as policies composed at compile time"
    license = "BSL-1.0"
    topics = ("knowledge-distillation", "libtorch", "deep-learning", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {
        "with_zlib": [True, False],
        "with_json": [True, False],
        "with_sqlite": [True, False],
        "with_nats": [True, False],
    }
    default_options = {"with_zlib": True, "with_json": True, "with_sqlite": True, "with_nats": True}
    exports_sources = "CMakeLists.txt", "LICENSE", "cmake/*.cmake", "cmake/*.in", "include/*"

    def set_version(self):
        header = load(self, os.path.join(self.recipe_folder, "include", "retort", "version.hpp"))
        parts = [re.search(rf"RETORT_VERSION_{part} (\d+)", header).group(1) for part in ("MAJOR", "MINOR", "PATCH")]
        self.version = ".".join(parts)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        # Ranges, so that a profile's [platform_requires] can replace Conan's packages by the system's.
        self.requires("libtorch/[>=1.13]", transitive_headers=True, transitive_libs=True)
        self.requires("range-v3/[>=0.12]", transitive_headers=True, transitive_libs=True)
        if self.options.with_zlib:
            self.requires("zlib/[>=1.2.11 <2]", transitive_headers=True, transitive_libs=True)
        if self.options.with_json:
            self.requires("nlohmann_json/[>=3.9]", transitive_headers=True, transitive_libs=True)
        if self.options.with_sqlite:
            self.requires("sqlite3/[>=3.37]", transitive_headers=True, transitive_libs=True)
        if self.options.with_nats:
            self.requires("cnats/[>=3.4]", transitive_headers=True, transitive_libs=True)

    def validate(self):
        check_min_cppstd(self, 20)

    def package_id(self):
        # Headers are the same for every compiler. The options stay: the installed CMake package depends on them.
        self.info.settings.clear()
        self.info.requires.clear()

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        for part in ("TESTS", "EXAMPLES", "BENCH"):
            toolchain.cache_variables[f"RETORT_BUILD_{part}"] = False
        toolchain.cache_variables["RETORT_INSTALL"] = True
        toolchain.cache_variables["RETORT_WITH_ZLIB"] = bool(self.options.with_zlib)
        toolchain.cache_variables["RETORT_WITH_JSON"] = bool(self.options.with_json)
        toolchain.cache_variables["RETORT_WITH_SQLITE"] = bool(self.options.with_sqlite)
        toolchain.cache_variables["RETORT_WITH_NATS"] = bool(self.options.with_nats)
        toolchain.generate()

    def build(self):
        # Nothing to compile: this only writes the CMake package.
        CMake(self).configure()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        CMake(self).install()
        rmdir(self, os.path.join(self.package_folder, "share", "licenses"))

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        # retort's own CMake package is used instead of a generated one: it finds LibTorch, range-v3, zlib,
        # nlohmann-json, SQLite and NATS's client by find_package, from Conan or, with [platform_requires], from the system.
        self.cpp_info.set_property("cmake_find_mode", "none")
        self.cpp_info.builddirs = [os.path.join("share", "cmake", "retort")]
        # For generators other than CMake's.
        self.cpp_info.set_property("pkg_config_name", "retort")
        if self.options.with_zlib:
            self.cpp_info.defines.append("RETORT_WITH_ZLIB=1")
        if self.options.with_json:
            self.cpp_info.defines.append("RETORT_WITH_JSON=1")
        if self.options.with_sqlite:
            self.cpp_info.defines.append("RETORT_WITH_SQLITE=1")
        if self.options.with_nats:
            self.cpp_info.defines.append("RETORT_WITH_NATS=1")
